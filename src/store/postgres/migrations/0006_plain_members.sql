-- Compressing a batch's members costs more than planning them, and saves little. Occurrences are mostly zeros: they stay.

ALTER TABLE batches
    ALTER COLUMN contacts SET STORAGE EXTERNAL,
    ALTER COLUMN addresses SET STORAGE EXTERNAL;
