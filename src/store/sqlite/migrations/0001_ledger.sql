-- The ledger. Times are microseconds since 1970 in UTC, days and months the days since then; small codes are the
-- numbers of the vocabularies in src/model; JSON is text; lists of numbers are little-endian 64-bit integers in a row.

CREATE TABLE secrets (
    name       text PRIMARY KEY,
    value      blob NOT NULL,
    created_at integer NOT NULL
);

CREATE TABLE contacts (
    number      integer PRIMARY KEY AUTOINCREMENT,
    external_id text UNIQUE,                     -- null once erased
    attributes  text NOT NULL DEFAULT '{}',
    tags        text NOT NULL DEFAULT '[]',
    locale      text,
    timezone    text,
    stub        integer NOT NULL DEFAULT 0,      -- named by a list, never described
    anonymous   integer NOT NULL DEFAULT 0,      -- known by an address only; external_id is ours
    created_at  integer NOT NULL,
    updated_at  integer NOT NULL,
    erased_at   integer,
    erased_hash blob
);
CREATE INDEX contacts_anonymous ON contacts (number) WHERE anonymous;

CREATE TABLE addresses (
    number         integer PRIMARY KEY AUTOINCREMENT,
    contact        integer NOT NULL,
    channel        integer NOT NULL,
    position       integer NOT NULL DEFAULT 0,
    consent_at     integer,
    consent_source text,
    app            text NOT NULL DEFAULT '',
    address        text NOT NULL,
    hash           blob NOT NULL,                -- keyed; what suppressions remember
    UNIQUE (channel, address, app)
);
CREATE INDEX addresses_contact ON addresses (contact, channel);

-- Per contact and channel, so that a replaced address does not bring a subscription back.
CREATE TABLE unsubscribes (
    contact integer NOT NULL,
    channel integer NOT NULL,
    at      integer NOT NULL,
    PRIMARY KEY (contact, channel)
) WITHOUT ROWID;

CREATE TABLE suppressions (
    channel    integer NOT NULL,
    hash       blob NOT NULL,
    reason     text NOT NULL,
    created_at integer NOT NULL,
    PRIMARY KEY (channel, hash)
) WITHOUT ROWID;

CREATE TABLE jobs (
    kind         text NOT NULL,
    id_hash      blob NOT NULL,
    content_hash blob NOT NULL,
    accepted_at  integer NOT NULL,
    PRIMARY KEY (kind, id_hash)
) WITHOUT ROWID;

CREATE TABLE templates (
    hash   blob PRIMARY KEY,
    name   text NOT NULL,
    source text NOT NULL
);

CREATE TABLE campaigns (
    number        integer PRIMARY KEY AUTOINCREMENT,
    id            text NOT NULL,
    month         integer NOT NULL DEFAULT 0,    -- a standing campaign has a row a month
    name          text,
    channel       integer NOT NULL,
    purpose       integer NOT NULL,
    lane          integer NOT NULL,
    provider      text,
    template      text NOT NULL,
    template_hash blob NOT NULL,
    data          text NOT NULL DEFAULT '{}',
    audience      text,                          -- dropped when planned
    rate          text NOT NULL DEFAULT '[]',
    burst         integer,
    track_opens   integer NOT NULL,
    track_clicks  integer NOT NULL,
    inline_data   integer NOT NULL DEFAULT 0,    -- rows in recipient_data may exist
    standing      integer NOT NULL DEFAULT 0,
    paused        integer NOT NULL DEFAULT 0,
    send_at       integer,
    expires_at    integer,
    accepted_at   integer NOT NULL,
    started_at    integer,
    planned_at    integer,
    cancelled_at  integer,
    expired_at    integer,
    finished_at   integer,
    plan_cursor   integer NOT NULL DEFAULT 0,
    plan_end      integer,
    UNIQUE (id, month)
);
CREATE INDEX campaigns_open ON campaigns (number) WHERE finished_at IS NULL;

CREATE TABLE links (
    campaign integer NOT NULL,
    number   integer NOT NULL,
    url      text NOT NULL,                      -- as the template writes it
    PRIMARY KEY (campaign, number)
) WITHOUT ROWID;

-- Lists of an audience, until they are planned.
CREATE TABLE stage (
    campaign    integer NOT NULL,
    position    integer NOT NULL,
    external_id text,
    address     text,
    data        text,
    PRIMARY KEY (campaign, position)
) WITHOUT ROWID;

CREATE TABLE recipient_data (
    campaign   integer NOT NULL,
    contact    integer NOT NULL,
    occurrence integer NOT NULL,
    data       text NOT NULL,
    PRIMARY KEY (campaign, contact, occurrence)
) WITHOUT ROWID;

CREATE TABLE providers (
    number integer PRIMARY KEY,
    name   text NOT NULL UNIQUE
);

-- Clustered by its key: planning appends, outcomes update in place.
CREATE TABLE deliveries (
    campaign     integer NOT NULL,
    contact      integer NOT NULL,
    occurrence   integer NOT NULL,
    address      integer,
    batch        integer,
    updated_at   integer NOT NULL,
    state        integer NOT NULL,
    reason       integer,
    attempts     integer NOT NULL DEFAULT 0,
    variant      integer NOT NULL DEFAULT 0,
    provider     integer,
    provider_ref text,
    PRIMARY KEY (campaign, contact, occurrence)
) WITHOUT ROWID;

CREATE TABLE batches (
    number      integer PRIMARY KEY AUTOINCREMENT,
    campaign    integer NOT NULL,
    channel     integer NOT NULL,
    lane        integer NOT NULL,
    attempt     integer NOT NULL DEFAULT 0,      -- attempts that its members have burnt
    due_at      integer NOT NULL,
    owner       integer,                         -- an incarnation
    epoch       integer NOT NULL DEFAULT 0,
    watermark   integer NOT NULL DEFAULT 0,      -- members before it may be on their way
    size        integer NOT NULL,                -- members from here on were settled by a cancel or an expiry
    template    blob NOT NULL,
    options     text                             -- of a single message; null: the campaign's hold
);
CREATE INDEX batches_waiting ON batches (channel, lane, campaign, due_at) WHERE owner IS NULL;
CREATE INDEX batches_campaign ON batches (campaign);
-- Of all rows: beside a partial index on NOT NULL, SQLite prepares a statement anew for every new parameter.
CREATE INDEX batches_owner ON batches (owner);

-- Apart from their batch, since a watermark moves often and these never change.
CREATE TABLE batch_members (
    batch       integer PRIMARY KEY,
    contacts    blob NOT NULL,
    occurrences blob NOT NULL,
    addresses   blob NOT NULL
);

CREATE TABLE incarnations (
    number     integer PRIMARY KEY AUTOINCREMENT,
    name       text NOT NULL,
    started_at integer NOT NULL,
    beat       integer NOT NULL DEFAULT 0
);

-- Attempts that were not simply accepted at the first try.
CREATE TABLE attempts (
    campaign   integer NOT NULL,
    contact    integer NOT NULL,
    occurrence integer NOT NULL,
    at         integer NOT NULL,
    attempt    integer NOT NULL,
    provider   integer,
    reason     integer,
    outcome    text NOT NULL,
    detail     text NOT NULL
);
CREATE INDEX attempts_delivery ON attempts (campaign, contact, occurrence);

-- Appended by every change, folded into counters; reports add the two.
CREATE TABLE counter_deltas (
    campaign integer NOT NULL,
    hour     integer NOT NULL,
    n        integer NOT NULL,
    metric   integer NOT NULL,
    variant  integer NOT NULL DEFAULT 0,
    state    integer NOT NULL DEFAULT 0,
    reason   integer NOT NULL DEFAULT 0,
    link     integer NOT NULL DEFAULT -1
);
CREATE TABLE counters (
    campaign integer NOT NULL,
    hour     integer NOT NULL,
    n        integer NOT NULL,
    metric   integer NOT NULL,
    variant  integer NOT NULL DEFAULT 0,
    state    integer NOT NULL DEFAULT 0,
    reason   integer NOT NULL DEFAULT 0,
    link     integer NOT NULL DEFAULT -1,
    PRIMARY KEY (campaign, metric, variant, state, reason, link, hour)
) WITHOUT ROWID;

CREATE TABLE events (
    day        integer NOT NULL,
    id         blob NOT NULL,
    campaign   integer,                          -- null: about an address, not a delivery
    contact    integer NOT NULL,
    occurrence integer,
    at         integer NOT NULL,
    kind       integer NOT NULL,
    link       integer,
    machine    integer,
    reason     integer,
    client_ip  text,
    user_agent text,
    detail     text,                             -- the provider's words
    PRIMARY KEY (day, id)
) WITHOUT ROWID;
CREATE INDEX events_contact ON events (contact, at);

CREATE TABLE engagement (
    campaign        integer NOT NULL,
    contact         integer NOT NULL,
    occurrence      integer NOT NULL,
    first_open_at   integer,
    last_open_at    integer,
    first_click_at  integer,
    last_click_at   integer,
    unsubscribed_at integer,
    complained_at   integer,
    opens           integer NOT NULL DEFAULT 0,
    clicks          integer NOT NULL DEFAULT 0,
    links           blob NOT NULL DEFAULT x'',   -- links that a person clicked
    PRIMARY KEY (campaign, contact, occurrence)
) WITHOUT ROWID;

CREATE TABLE contact_engagement (
    contact        integer PRIMARY KEY,
    first_open_at  integer,
    last_open_at   integer,
    first_click_at integer,
    last_click_at  integer,
    opens          integer NOT NULL DEFAULT 0,
    clicks         integer NOT NULL DEFAULT 0,
    hours          blob NOT NULL                  -- 24 counts by the contact's own clock
) WITHOUT ROWID;

-- Rows wait here for the broker's confirm.
CREATE TABLE outbox (
    number      integer PRIMARY KEY AUTOINCREMENT,
    routing_key text NOT NULL,
    payload     text NOT NULL
);

-- Deliveries by the ids that providers gave them, where receipts name nothing else.
CREATE TABLE provider_references (
    provider   text NOT NULL,
    reference  text NOT NULL,
    campaign   integer NOT NULL,
    contact    integer NOT NULL,
    occurrence integer NOT NULL,
    known_at   integer NOT NULL,
    PRIMARY KEY (provider, reference)
) WITHOUT ROWID;
CREATE INDEX provider_references_age ON provider_references (known_at);

-- Receipts that came before the ids they name.
CREATE TABLE parked_receipts (
    id        blob PRIMARY KEY,
    provider  text NOT NULL,
    reference text NOT NULL,
    receipt   text NOT NULL,
    parked_at integer NOT NULL
) WITHOUT ROWID;
