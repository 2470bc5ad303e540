-- Who may ask, and who did what.

CREATE TABLE tokens (
    number       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text COLLATE "C" NOT NULL UNIQUE,
    hash         bytea NOT NULL UNIQUE,            -- SHA-256
    scopes       smallint NOT NULL,                -- bits: read 1, send 2, admin 4
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz,
    expires_at   timestamptz,
    revoked_at   timestamptz
);

CREATE TABLE audit (
    number  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT now(),
    who     text NOT NULL,
    action  text NOT NULL,
    subject text,
    contact bytea,                                 -- keyed hash of an external id
    content bytea,                                 -- SHA-256 of a job
    ending  text NOT NULL,
    detail  text
);
CREATE INDEX audit_contact ON audit (contact) WHERE contact IS NOT NULL;

CREATE FUNCTION audit_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND OLD.at < now() - interval '30 days' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the audit log is only added to';
END $$;
CREATE TRIGGER audit_stays BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_stays();

-- What comes late about the erased is forgotten again.
CREATE INDEX contacts_erased ON contacts (erased_at) WHERE erased_at IS NOT NULL;
