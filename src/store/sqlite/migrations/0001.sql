-- Times are whole microseconds since the Unix epoch. `labels`, `key`, `told`, `maybe`, `given_up`, `held`, `reached`, `down`
-- and `notification` are JSON, objects with their keys sorted, so that equal ones are equal texts.

create table meta (
    name  text primary key,
    value integer not null
) strict, without rowid;

create table rules (
    name        text primary key,
    fingerprint text not null,
    kind        text not null, -- what its alerts are of
    since       integer not null
) strict, without rowid;

create table containers (
    key integer primary key,
    id  text not null unique
) strict;

-- What lists of events are filtered by, once for all events that share it. Not unique, since a
-- unique index takes every null for another; the one writer looks before it inserts.
create table facets (
    id          integer primary key,
    application text,
    service     text,
    state       text not null
) strict;
create index facets_by_value on facets (state, application, service);

create table events (
    seq         integer primary key,
    container   integer not null, -- this and the facet are not declared as references: looking
                                  -- them up would be a tenth of adding an event
    before      integer, -- the event of the same container that was received before this one; what
                         -- is pruned leaves the number of a row that is not there, and is not
                         -- there again
    timestamp   integer not null,
    identity    blob not null,
    at          integer, -- null where it is the timestamp
    received_at integer not null,
    facet       integer not null,
    late        integer, -- 1 where what was received before of its container has a place that is
                         -- not earlier
    failed      text, -- why nothing could be derived from it: it is no part of the timeline
    payload     any not null -- the text or, mostly, a shorter form of it (event/payload.rs)
) strict;
create index events_ahead on events (container, timestamp) where at is not null;
create index events_late on events (container, seq) where late is not null;
-- There is no other index by container: it would have a page written for each event of a batch. A
-- container's events are found from the last one back.

-- The events by time, those up to the one that `meta` has as `last_in_order`: the last ones are put
-- in order many at a time.
create table events_by_time (
    timestamp integer not null,
    seq       integer not null,
    facet     integer not null,
    primary key (timestamp, seq)
) strict, without rowid;

-- What changes with every event. The last changes are in the log.
create table container_states (
    container  integer primary key references containers,
    last_event integer not null,
    newest     integer not null, -- the latest place of its events: what is later is not known,
    ahead      integer not null, -- unless it is one of so many whose timestamp is later than its place
    facet      integer references facets, -- null where nothing but failed events was heard of it
    since      integer not null,
    starts     integer,
    gaps       integer not null, -- how often events are missing in its timeline
    last_at    integer not null,
    derived_to integer not null,
    open       integer not null
) strict;

-- What commits changed in container_states and did not write there yet, the first first: an array
-- of rows, each an array of their columns. Times that are equal to `newest` are null.
create table container_log (
    number integer primary key,
    rows   text not null
) strict;

-- containers as they are: container_states with what is in the log. It is a join, so that a query by
-- id or key looks at no other container; as a union, all of them would be put together first.
create view containers_now as
    with logged as (
        select max(l.number), cast(r.value ->> 0 as integer) as container,
               r.value ->> 1 as last_event, r.value ->> 2 as newest, r.value ->> 3 as ahead,
               r.value ->> 4 as facet, coalesce(r.value ->> 5, r.value ->> 2) as since,
               r.value ->> 6 as starts, r.value ->> 7 as gaps,
               coalesce(r.value ->> 8, r.value ->> 2) as last_at,
               coalesce(r.value ->> 9, r.value ->> 2) as derived_to, r.value ->> 10 as open
        from container_log l, json_each(l.rows) r group by 2)
    select c.key as container, c.id,
           iif(l.container is null, s.last_event, l.last_event) as last_event,
           iif(l.container is null, s.newest, l.newest) as newest,
           iif(l.container is null, s.ahead, l.ahead) as ahead,
           iif(l.container is null, s.facet, l.facet) as facet,
           iif(l.container is null, s.since, l.since) as since,
           iif(l.container is null, s.starts, l.starts) as starts,
           iif(l.container is null, s.gaps, l.gaps) as gaps,
           iif(l.container is null, s.last_at, l.last_at) as last_at,
           iif(l.container is null, s.derived_to, l.derived_to) as derived_to,
           iif(l.container is null, s.open, l.open) as open
    from containers c
    left join logged l on l.container = c.key
    left join container_states s on s.container = c.key;

-- What is left of the part of a container's timeline that was pruned: up to which place, and what
-- it was in and held up by then, as JSON.
create table checkpoints (
    container integer primary key references containers,
    at        integer not null,
    open      integer not null, -- by how much it was held up
    rest      text not null
) strict;

create table intervals (
    -- Notifications name intervals: the number of one that was removed may not come back. The last
    -- that was ever given is in `meta` if its interval was removed.
    id             integer primary key,
    role           text not null, -- own, part or whole
    rule           text not null,
    key            text not null,
    labels         text not null,
    container      integer not null references containers,
    start          integer not null,
    heard_at       integer not null,
    occurrences    integer not null,
    last_at        integer not null,
    last_timestamp integer not null,
    last_identity  blob not null,
    end_at         integer,
    end_heard_at   integer,
    end_cause      text,
    end_timestamp  integer,
    end_identity   blob,
    due            integer
) strict;
create index intervals_by_container on intervals (container);
create index intervals_open on intervals (due) where end_at is null;
create index intervals_ended on intervals (end_heard_at) where end_at is not null;
create index intervals_whole on intervals (rule, key, start) where role = 'whole';
create index intervals_shared on intervals (rule, key, end_at) where role <> 'own';

-- Names of groups. They outlive the groups: a ledger speaks of groups that are gone, and that come
-- back under the same key.
create table group_keys (
    id       integer primary key,
    rule     text not null,
    receiver text not null,
    labels   text not null,
    unique (rule, receiver, labels)
) strict;

create table ledger (
    interval       integer not null references intervals on delete cascade,
    place          integer not null, -- in the interval's list of entries
    group_key      integer not null, -- not declared as a reference: a name that nothing refers to
                                     -- is found by both indexes together, which SQLite would not use
    told           text,
    maybe          text,
    given_up       text,
    news           text,
    firing         integer not null,
    alive          integer not null, -- news or firing: in the index, which is dear to write
    held           text,
    primary key (interval, place)
) strict, without rowid;
create index ledger_alive on ledger (group_key) where alive;
create index ledger_at_rest on ledger (group_key) where not alive;

create table groups (
    key          integer primary key references group_keys,
    opened_at    integer not null,
    last_told    integer,
    waiting      text,
    spoken       integer not null,
    handle       text,
    timer_set_at integer,
    timer_due_at integer
) strict;
create index groups_due on groups (timer_due_at) where timer_due_at is not null;

create table deliveries (
    key           integer primary key,
    id            text not null unique,
    group_key     integer not null references group_keys,
    receiver      text not null, -- that of the group or, while that is down, its fallback
    status        text not null,
    created_at    integer not null,
    due_at        integer not null,
    waiting_since integer not null,
    next_set_at   integer not null,
    next_due_at   integer not null,
    attempts      integer not null,
    failures      integer not null,
    lease_token   text,
    lease_until   integer,
    digest        text, -- which told it last, or tells it, along with others
    notification  text,
    doubtful      integer not null,
    plain         integer not null,
    reached       text not null,
    last_error    text,
    ended_at      integer
) strict;
create index deliveries_by_group on deliveries (group_key);
create index deliveries_ended on deliveries (ended_at) where status <> 'pending';
-- Nearly all are sent: an index of those would be written twice for each, and is none.
create index deliveries_unsent on deliveries (status) where status not in ('pending', 'sent');
create index deliveries_waiting on deliveries (receiver, waiting_since) where status = 'pending';
create index deliveries_by_digest on deliveries (digest) where digest is not null;

-- How receivers are, if there is anything to say.
create table receivers (
    name          text primary key,
    failures      integer not null, -- in a row
    failing_since integer not null,
    resting_until integer,
    down          text -- since when, why, and what went elsewhere: null unless it is down
) strict, without rowid;

create table silences (
    id         integer primary key autoincrement, -- what was held back names it for good
    matchers   text not null, -- as they were written
    starts_at  integer not null,
    ends_at    integer not null,
    created_at integer not null,
    created_by text,
    comment    text
) strict;

create table attempts (
    delivery   integer not null references deliveries on delete cascade,
    number     integer not null,
    started_at integer not null,
    ended_at   integer,
    outcome    text,
    detail     text,
    primary key (delivery, number)
) strict, without rowid;
