-- What becomes of doubt, one publisher of events, and pauses that say why.

ALTER TABLE batches
    ADD COLUMN resend_until    timestamptz,        -- members in doubt may be sent again until then; null: never
    ADD COLUMN resend_provider text COLLATE "C",   -- by this account alone; null: by whichever carries them
    ADD COLUMN doubt           smallint;           -- why all members may be with a provider already; null: they are not

-- Who does what only one daemon does at a time, by the database's clock.
CREATE TABLE duties (
    name  text PRIMARY KEY,
    owner bigint NOT NULL,
    until timestamptz NOT NULL
);

ALTER TABLE campaigns
    ADD COLUMN pause_cause smallint,               -- null: paused by hand, or not paused
    ADD COLUMN judged_from jsonb;                  -- what a resume forgives: counts that no later pause looks at
