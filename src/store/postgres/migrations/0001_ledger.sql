-- The ledger. Times are timestamptz; small codes are the numbers of the vocabularies in src/model.
-- Ids and addresses compare by their bytes, whatever the database's collation.

CREATE TABLE secrets (
    name       text PRIMARY KEY,
    value      bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE contacts (
    number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    external_id text COLLATE "C" UNIQUE,           -- null once erased
    attributes  jsonb NOT NULL DEFAULT '{}',
    tags        text[] NOT NULL DEFAULT '{}',
    locale      text,
    timezone    text,
    stub        boolean NOT NULL DEFAULT false,    -- named by a list, never described
    anonymous   boolean NOT NULL DEFAULT false,    -- known by an address only; external_id is ours
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    erased_at   timestamptz,
    erased_hash bytea
);
CREATE INDEX contacts_anonymous ON contacts (number) WHERE anonymous;

CREATE TABLE addresses (
    number         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    contact        bigint NOT NULL,
    channel        smallint NOT NULL,
    position       smallint NOT NULL DEFAULT 0,
    consent_at     timestamptz,
    consent_source text,
    app            text COLLATE "C" NOT NULL DEFAULT '',
    address        text COLLATE "C" NOT NULL,
    hash           bytea NOT NULL,                 -- keyed; what suppressions remember
    UNIQUE (channel, app, address)
);
CREATE INDEX addresses_contact ON addresses (contact, channel);

-- Per contact and channel, so that a replaced address does not bring a subscription back.
CREATE TABLE unsubscribes (
    contact bigint NOT NULL,
    channel smallint NOT NULL,
    at      timestamptz NOT NULL,
    PRIMARY KEY (contact, channel)
);

CREATE TABLE suppressions (
    channel    smallint NOT NULL,
    hash       bytea NOT NULL,
    reason     text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (channel, hash)
);

CREATE TABLE jobs (
    kind         text NOT NULL,
    id_hash      bytea NOT NULL,
    content_hash bytea NOT NULL,
    accepted_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, id_hash)
);

CREATE TABLE templates (
    hash   bytea PRIMARY KEY,
    name   text NOT NULL,
    source jsonb NOT NULL
);

CREATE TABLE campaigns (
    number        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id            text COLLATE "C" NOT NULL,
    month         date NOT NULL DEFAULT 'epoch',   -- a standing campaign has a row a month
    name          text,
    channel       smallint NOT NULL,
    purpose       smallint NOT NULL,
    lane          smallint NOT NULL,
    provider      text,
    template      text NOT NULL,
    template_hash bytea NOT NULL,
    data          jsonb NOT NULL DEFAULT '{}',
    audience      jsonb,                           -- dropped when planned
    rate          jsonb NOT NULL DEFAULT '[]',
    burst         bigint,
    track_opens   boolean NOT NULL,
    track_clicks  boolean NOT NULL,
    inline_data   boolean NOT NULL DEFAULT false,  -- rows in recipient_data may exist
    standing      boolean NOT NULL DEFAULT false,
    paused        boolean NOT NULL DEFAULT false,
    send_at       timestamptz,
    expires_at    timestamptz,
    accepted_at   timestamptz NOT NULL DEFAULT now(),
    started_at    timestamptz,
    planned_at    timestamptz,
    cancelled_at  timestamptz,
    expired_at    timestamptz,
    finished_at   timestamptz,
    plan_cursor   bigint NOT NULL DEFAULT 0,
    plan_end      bigint,
    UNIQUE (id, month)
);
CREATE INDEX campaigns_open ON campaigns (number) WHERE finished_at IS NULL;

CREATE TABLE links (
    campaign bigint NOT NULL,
    number   smallint NOT NULL,
    url      text NOT NULL,                        -- as the template writes it
    PRIMARY KEY (campaign, number)
);

-- Lists of an audience, until they are planned.
CREATE TABLE stage (
    campaign    bigint NOT NULL,
    position    bigint NOT NULL,
    external_id text,
    address     text,
    data        jsonb,
    PRIMARY KEY (campaign, position)
);

CREATE TABLE recipient_data (
    campaign   bigint NOT NULL,
    contact    bigint NOT NULL,
    occurrence bigint NOT NULL,
    data       jsonb NOT NULL,
    PRIMARY KEY (campaign, contact, occurrence)
);

CREATE TABLE providers (
    number smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name   text NOT NULL UNIQUE
);

-- Partitions hold a range of campaign numbers each and are attached ahead of need; no index but the key,
-- so that the outcome's update stays on its page.
CREATE TABLE deliveries (
    campaign     bigint NOT NULL,
    contact      bigint NOT NULL,
    occurrence   bigint NOT NULL,
    address      bigint,
    batch        bigint,
    updated_at   timestamptz NOT NULL,
    state        smallint NOT NULL,
    reason       smallint,
    attempts     smallint NOT NULL DEFAULT 0,
    variant      smallint NOT NULL DEFAULT 0,
    provider     smallint,
    provider_ref text,
    PRIMARY KEY (campaign, contact, occurrence)
) PARTITION BY RANGE (campaign);

CREATE SEQUENCE batch_numbers;

CREATE TABLE batches (
    number      bigint PRIMARY KEY,
    campaign    bigint NOT NULL,
    channel     smallint NOT NULL,
    lane        smallint NOT NULL,
    attempt     smallint NOT NULL DEFAULT 0,       -- attempts that its members have burnt
    due_at      timestamptz NOT NULL,
    owner       bigint,                            -- an incarnation
    epoch       integer NOT NULL DEFAULT 0,
    watermark   integer NOT NULL DEFAULT 0,        -- members before it may be on their way
    size        integer NOT NULL,                  -- members from here on were settled by a cancel or an expiry
    template    bytea NOT NULL,
    options     jsonb,                             -- of a single message; null: the campaign's hold
    contacts    bigint[] NOT NULL,
    occurrences bigint[] NOT NULL,
    addresses   bigint[] NOT NULL
);
CREATE INDEX batches_waiting ON batches (channel, lane, campaign, due_at) WHERE owner IS NULL;
CREATE INDEX batches_campaign ON batches (campaign);
CREATE INDEX batches_owner ON batches (owner) WHERE owner IS NOT NULL;

CREATE TABLE incarnations (
    number     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    beat       bigint NOT NULL DEFAULT 0
);

-- Attempts that were not simply accepted at the first try.
CREATE TABLE attempts (
    campaign   bigint NOT NULL,
    contact    bigint NOT NULL,
    occurrence bigint NOT NULL,
    at         timestamptz NOT NULL,
    attempt    smallint NOT NULL,
    provider   smallint,
    reason     smallint,
    outcome    text NOT NULL,
    detail     text NOT NULL
);
CREATE INDEX attempts_delivery ON attempts (campaign, contact, occurrence);

-- Appended by every change, folded into counters; reports add the two.
CREATE TABLE counter_deltas (
    campaign bigint NOT NULL,
    hour     timestamptz NOT NULL,
    n        bigint NOT NULL,
    metric   smallint NOT NULL,
    variant  smallint NOT NULL DEFAULT 0,
    state    smallint NOT NULL DEFAULT 0,
    reason   smallint NOT NULL DEFAULT 0,
    link     smallint NOT NULL DEFAULT -1
);
CREATE TABLE counters (
    LIKE counter_deltas INCLUDING DEFAULTS,
    PRIMARY KEY (campaign, metric, variant, state, reason, link, hour)
) WITH (fillfactor = 70);

CREATE TABLE events (
    day        date NOT NULL,
    id         uuid NOT NULL,
    campaign   bigint,                             -- null: about an address, not a delivery
    contact    bigint NOT NULL,
    occurrence bigint,
    at         timestamptz NOT NULL,
    kind       smallint NOT NULL,
    link       smallint,
    machine    smallint,
    reason     smallint,
    client_ip  inet,
    user_agent text,
    detail     text,                               -- the provider's words
    PRIMARY KEY (day, id)
);
CREATE INDEX events_contact ON events (contact, at);

CREATE TABLE engagement (
    campaign        bigint NOT NULL,
    contact         bigint NOT NULL,
    occurrence      bigint NOT NULL,
    first_open_at   timestamptz,
    last_open_at    timestamptz,
    first_click_at  timestamptz,
    last_click_at   timestamptz,
    unsubscribed_at timestamptz,
    complained_at   timestamptz,
    opens           integer NOT NULL DEFAULT 0,
    clicks          integer NOT NULL DEFAULT 0,
    links           smallint[] NOT NULL DEFAULT '{}',  -- links that a person clicked
    PRIMARY KEY (campaign, contact, occurrence)
) WITH (fillfactor = 80);

CREATE TABLE contact_engagement (
    contact        bigint PRIMARY KEY,
    first_open_at  timestamptz,
    last_open_at   timestamptz,
    first_click_at timestamptz,
    last_click_at  timestamptz,
    opens          integer NOT NULL DEFAULT 0,
    clicks         integer NOT NULL DEFAULT 0,
    hours          integer[] NOT NULL                  -- 24 counts by the contact's own clock
) WITH (fillfactor = 80);

-- Rows wait here for the broker's confirm.
CREATE TABLE outbox (
    number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    routing_key text NOT NULL,
    payload     jsonb NOT NULL
);

-- Deliveries by the ids that providers gave them, where receipts name nothing else.
CREATE TABLE provider_references (
    provider   text COLLATE "C" NOT NULL,
    reference  text COLLATE "C" NOT NULL,
    campaign   bigint NOT NULL,
    contact    bigint NOT NULL,
    occurrence bigint NOT NULL,
    known_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (provider, reference)
);
CREATE INDEX provider_references_age ON provider_references USING brin (known_at);

-- Receipts that came before the ids they name.
CREATE TABLE parked_receipts (
    id        uuid PRIMARY KEY,
    provider  text COLLATE "C" NOT NULL,
    reference text COLLATE "C" NOT NULL,
    receipt   jsonb NOT NULL,
    parked_at timestamptz NOT NULL DEFAULT now()
);
