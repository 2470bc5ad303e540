-- Rates that several daemons share: a line of time each, of which every cell takes its part.

CREATE TABLE shared_rates (
    line  text COLLATE "C" PRIMARY KEY,            -- whose rate, and which: `provider:relay 300/s`
    taken bigint NOT NULL                          -- up to here; microseconds since 1970
) WITH (fillfactor = 50);
