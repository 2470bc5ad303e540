-- What becomes of doubt, and pauses that say why.

ALTER TABLE batches ADD COLUMN resend_until integer;    -- members in doubt may be sent again until then; null: never
ALTER TABLE batches ADD COLUMN resend_provider text;    -- by this account alone; null: by whichever carries them
ALTER TABLE batches ADD COLUMN doubt integer;           -- why all members may be with a provider already; null: they are not

ALTER TABLE campaigns ADD COLUMN pause_cause integer;   -- null: paused by hand, or not paused
ALTER TABLE campaigns ADD COLUMN judged_from text;      -- what a resume forgives: counts that no later pause looks at
