-- The tables of examples/panel_postgres.py, which makes them where there are none.

CREATE TABLE servers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- never used again: events of what it was may still come
    -- What is wanted. Whoever uses the panel writes it.
    name text NOT NULL,
    argv text[] NOT NULL,
    env jsonb NOT NULL DEFAULT '{}',
    cwd text NOT NULL DEFAULT '/',
    stop jsonb,    -- [{"stdin": "stop\n"}, {"wait": 30000}, {"signal": 15}, {"wait": 5000}, {"kill": true}]
    restart text NOT NULL DEFAULT 'unless-stopped',
    wanted text NOT NULL DEFAULT 'running' CHECK (wanted IN ('running', 'stopped', 'absent')),
    retired text,  -- the run that is to end, as PROCESS/GENERATION; NULL: the present one, whichever that is
    -- What is. Nobody but the panel writes it.
    process text,
    state text,
    generation bigint,
    pid bigint,
    code bigint,
    signal bigint,
    since timestamptz,
    last_event timestamptz,
    trouble text
);

-- What has happened, for people.
CREATE TABLE history (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    server bigint NOT NULL,
    process text NOT NULL,
    generation bigint NOT NULL,
    type text NOT NULL,
    time timestamptz NOT NULL,
    principal text NOT NULL,
    detail text,
    cursor text NOT NULL
);

-- Up to where the daemon has told what happens: one row.
CREATE TABLE cursor (cursor text);
INSERT INTO cursor VALUES (NULL);

-- What is to run after it was stopped has to be another run than that.
CREATE FUNCTION run_again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.retired := NULL;
    RETURN NEW;
END $$;
CREATE TRIGGER run_again BEFORE UPDATE OF wanted ON servers FOR EACH ROW
    WHEN (NEW.wanted = 'running' AND OLD.wanted <> 'running') EXECUTE FUNCTION run_again();

CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('servers', coalesce(NEW.id, OLD.id)::text);
    RETURN NULL;
END $$;
CREATE TRIGGER tell
    AFTER INSERT OR DELETE OR UPDATE OF name, argv, env, cwd, stop, restart, wanted, retired ON servers
    FOR EACH ROW EXECUTE FUNCTION tell();
