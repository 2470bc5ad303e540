-- Keys of tracking tokens, one after the other. The first is the one that there was.

CREATE TABLE tracking_keys (
    id         integer PRIMARY KEY CHECK (id BETWEEN 0 AND 255),     -- travels in each token
    secret     blob,                                                 -- null once retired
    created_at integer NOT NULL,
    retired_at integer,
    CHECK ((secret IS NULL) = (retired_at IS NOT NULL))
);

INSERT INTO tracking_keys (id, secret, created_at) SELECT 0, value, created_at FROM secrets WHERE name = 'tracking';
DELETE FROM secrets WHERE name = 'tracking';
