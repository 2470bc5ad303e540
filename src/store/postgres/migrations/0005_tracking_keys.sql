-- Keys of tracking tokens, one after the other. The first is the one that there was.

CREATE TABLE tracking_keys (
    id         smallint PRIMARY KEY CHECK (id BETWEEN 0 AND 255),    -- travels in each token
    secret     bytea,                                                -- null once retired
    created_at timestamptz NOT NULL DEFAULT now(),
    retired_at timestamptz,
    CHECK ((secret IS NULL) = (retired_at IS NOT NULL))
);

INSERT INTO tracking_keys (id, secret, created_at) SELECT 0, value, created_at FROM secrets WHERE name = 'tracking';
DELETE FROM secrets WHERE name = 'tracking';
