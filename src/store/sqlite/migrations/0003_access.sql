-- Who may ask, and who did what.

CREATE TABLE tokens (
    number       integer PRIMARY KEY AUTOINCREMENT,
    name         text NOT NULL UNIQUE,
    hash         blob NOT NULL UNIQUE,             -- SHA-256
    scopes       integer NOT NULL,                 -- bits: read 1, send 2, admin 4
    created_at   integer NOT NULL,
    last_used_at integer,
    expires_at   integer,
    revoked_at   integer
);

CREATE TABLE audit (
    number  integer PRIMARY KEY AUTOINCREMENT,
    at      integer NOT NULL,
    who     text NOT NULL,
    action  text NOT NULL,
    subject text,
    contact blob,                                  -- keyed hash of an external id
    content blob,                                  -- SHA-256 of a job
    ending  text NOT NULL,
    detail  text
);
CREATE INDEX audit_contact ON audit (contact) WHERE contact IS NOT NULL;

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN
    SELECT raise(ABORT, 'the audit log is only added to');
END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit WHEN old.at > (unixepoch() - 30 * 86400) * 1000000
BEGIN
    SELECT raise(ABORT, 'the audit log is only added to');
END;

-- What comes late about the erased is forgotten again.
CREATE INDEX contacts_erased ON contacts (erased_at) WHERE erased_at IS NOT NULL;
