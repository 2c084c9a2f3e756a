//! The composition root: a rules file, a store and a listener become a running bridge.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use futures_util::FutureExt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::clock;
use crate::config::{self, Config, Storage};
use crate::deliver::{Bell, Worker, receivers};
use crate::engine::{self, DeliveryId, Keys, Snapshot};
use crate::http::{self, Api, Guard, Limits, Wording, Words};
use crate::lifecycle::Lifecycle;
use crate::message;
use crate::metrics::Metrics;
use crate::prune::Pruner;
use crate::rules::Rules;
use crate::store::sqlite::SqliteStore;
use crate::store::{Adoption, Store, in_parts, transact, versions};
use crate::supervisor::Supervisor;
use crate::wake::Wake;
use crate::{ingest, schedule, tls};

/// What `tocsin serve` was asked to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The rules file.
    pub rules: PathBuf,
    /// Where to listen, instead of where the file says.
    pub listen: Option<String>,
    /// Where to keep things, instead of where the file says.
    pub storage: Option<String>,
    /// How long a soft stop may take.
    pub stop_timeout: Duration,
}

/// Runs the bridge until it is told to stop.
///
/// # Errors
/// If the rules file is wrong ([`config::Problems`]), the address cannot be listened on, the store
/// cannot be opened, or the stop was not soft.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let mut config = config::load(&options.rules, &environment, &receivers::validate)?;
    if let Some(listen) = options.listen {
        config::Server::check_listen(&listen).map_err(|error| anyhow!("--listen {error}"))?;
        config.server.listen = listen;
    }
    if let Some(storage) = options.storage {
        config.storage = storage.parse().map_err(|error| anyhow!("--storage {error}"))?;
    }
    for note in &config.notes {
        warn!("{note}");
    }
    let life = Lifecycle::new();
    life.listen_for_signals().context("cannot listen for signals")?;
    let listener = listen(&config.server).await?;
    let Storage::Sqlite(path) = &config.storage;
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(path)?);
    let serving = ring(config, Arc::clone(&store), listener, &life).await?;
    attended(Arc::clone(&store), serving, &life);
    if !life.stopped_within(options.stop_timeout).await {
        bail!(
            "stopped before all was done; what was accepted is kept, and goes on at the next start"
        );
    }
    drop(store);
    info!("stopped");
    Ok(())
}

/// The value of an environment variable, if it is set and Unicode.
#[must_use]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Starts every task of the bridge, and answers in words what it does.
///
/// # Errors
/// If the store cannot be brought into line with the rules, or a receiver cannot be built.
pub async fn ring(
    config: Config,
    store: Arc<dyn Store>,
    listener: TcpListener,
    life: &Lifecycle,
) -> anyhow::Result<String> {
    // Before anything runs that would have to be stopped again.
    let senders: Vec<_> = config
        .receivers
        .values()
        .map(|receiver| Ok((receiver.clone(), receivers::build(receiver)?)))
        .collect::<Result<_, String>>()
        .map_err(anyhow::Error::msg)?;
    let wake = Arc::new(Wake::default());
    let rules = take_over(&config, &store, &wake).await?;

    let metrics = Metrics::default();
    let (ingest, batches) =
        ingest::channel(Arc::clone(&store), Arc::clone(&rules), Arc::clone(&wake), metrics.clone());
    life.spawn_vital("ingest", batches.run());
    let schedule =
        schedule::run(Arc::clone(&store), Arc::clone(&rules), Arc::clone(&wake), life.soft.clone());
    life.spawn_vital("schedule", schedule);
    let pruner = Pruner {
        store: Arc::clone(&store),
        rules: Arc::clone(&rules),
        metrics: metrics.clone(),
        keep: config.keep,
        stop: life.soft.clone(),
    };
    life.spawn_vital("prune", pruner.run());
    let places = config.receivers.values().map(|receiver| http::Place {
        name: receiver.name.clone(),
        kind: receiver.kind.name(),
        off: receiver.is_off(),
    });
    let places = places.collect();
    let bell = Arc::new(Bell {
        store: Arc::clone(&store),
        metrics: metrics.clone(),
        rules: Arc::clone(&rules),
        templates: config.templates,
        external_url: config.server.external_url.clone(),
        wake: Arc::clone(&wake),
        life: life.clone(),
    });
    for (receiver, sender) in senders {
        life.spawn_vital("deliver", Worker::new(Arc::clone(&bell), receiver, sender).run());
    }
    let address = listener.local_addr().context("cannot learn the address listened on")?;
    let words = wording(bell);
    let api = Api {
        store,
        ingest,
        wake,
        rules: Arc::clone(&rules),
        metrics,
        places,
        words,
        stop: life.soft.clone(),
    };
    let scheme = if config.server.tls.is_some() { "https" } else { "http" };
    let guard = guard(config.server, life)?;
    life.spawn_vital("http", http::serve(listener, api, guard, limits()));
    let rules = rules.iter().count();
    info!(rules, "listening on {scheme}://{address}");
    let noun = if rules == 1 { "rule" } else { "rules" };
    Ok(format!("listening on {scheme}://{address}, {rules} {noun}"))
}

/// Lets the service manager know how the program stands, if one started it.
fn attended(store: Arc<dyn Store>, serving: String, life: &Lifecycle) {
    let supervisor = match Supervisor::from_environment(&environment) {
        Ok(None) => return,
        Ok(Some(supervisor)) => supervisor,
        Err(error) => {
            warn!(%error, "NOTIFY_SOCKET cannot be used; the service manager hears nothing");
            return;
        }
    };
    let stop = life.soft.clone();
    life.spawn_vital("supervisor", async move {
        supervisor.attend(&*store, &serving, &stop).await;
    });
}

/// Who may call, as the file has it.
fn guard(server: config::Server, life: &Lifecycle) -> anyhow::Result<Guard> {
    let tls = server.tls.map(|files| tls::keep_current(files, life.soft.clone())).transpose();
    let tls = tls.map_err(|wrong| anyhow!("in `server.tls`, {wrong}"))?;
    let tls = tls.map(|(current, follow)| {
        life.spawn_vital("tls", follow);
        current
    });
    // Behind a password, a proxy or an open door nobody is led astray by a name.
    let may_be_misled = server.admin.is_none() && !server.open && server.trusted_proxies.is_empty();
    let names = http::names(&server.listen, server.external_url.as_deref());
    Ok(Guard {
        receive_tokens: server.receive_tokens,
        receive_rate: server.receive_rate,
        admin: server.admin.map(|admin| (admin.user, admin.password)),
        names: may_be_misled.then_some(names),
        trusted_proxies: server.trusted_proxies,
        tls,
    })
}

/// The limits of the edge: clients never have all the descriptors that the system lets us open, so
/// that the store and the deliveries can always have theirs.
fn limits() -> Limits {
    const OTHERS: u64 = 512;
    let usual = Limits::default();
    let wanted = usual.connections as u64 + OTHERS;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let mut allowed = current.unwrap_or(wanted);
    if allowed < wanted {
        let more = maximum.map_or(wanted, |maximum| maximum.min(wanted));
        if setrlimit(Resource::Nofile, Rlimit { current: Some(more), maximum }).is_ok() {
            allowed = more;
        }
    }
    if allowed >= wanted {
        return usual;
    }
    let connections = usize::try_from(allowed / 2).unwrap_or(usual.connections);
    warn!(
        descriptors = allowed,
        connections, "few files may be open at once: fewer connections are taken"
    );
    let connections_each = usual.connections_each.min(connections.div_ceil(2));
    Limits { connections, connections_each, ..usual }
}

/// How notifications are worded for people who look them up: as they are sent.
fn wording(bell: Arc<Bell>) -> Wording {
    Arc::new(move |notification, now| {
        let external_url = bell.external_url.as_deref();
        let context = message::Context { external_url, now, plain: false, instead_of: None };
        let message = message::word(notification, &bell.templates, &context);
        Words { text: message.body_text(), title: message.title }
    })
}

/// Brings what the store holds into line with the rules file: what changed since the program last
/// ran, and what it was doing when it stopped.
async fn take_over(
    config: &Config,
    store: &Arc<dyn Store>,
    wake: &Arc<Wake>,
) -> anyhow::Result<Arc<Rules>> {
    let store = &**store;
    let rules = config.rules.clone().with_receivers(config.receivers.keys().cloned());
    let mut adoption = store.adopt(versions(&rules), clock::now()).await?;
    for rule in &adoption.changed {
        info!(rule, "the rule changed: it derives from what is received from now on");
    }
    for rule in &adoption.removed {
        info!(rule, "the rule is gone: its alerts end");
    }
    for rule in &adoption.replacing {
        info!(rule, "the rule's alerts are of another kind from now on: those there are end");
    }
    let in_force = |rules: Rules, adoption: &Adoption| {
        Arc::new(rules.starting_at(&adoption.since).came_up(clock::now()))
    };

    in_parts(&store.leased().await?, |ids| {
        let keys = of_deliveries(&ids);
        let take_back = move |snapshot: &Snapshot| engine::take_back(snapshot, &ids, clock::now());
        transact(store, keys, take_back).boxed()
    })
    .await?;
    let receivers: Vec<Arc<str>> =
        config.receivers.keys().map(|name| name.as_str().into()).collect();
    in_parts(&receivers, |names| {
        let keys = Keys { receivers: names.iter().cloned().collect(), ..Keys::default() };
        let try_again =
            move |snapshot: &Snapshot| engine::try_again(snapshot, &names, clock::now());
        transact(store, keys, try_again).boxed()
    })
    .await?;
    if !adoption.replacing.is_empty() {
        let others = in_force(rules.without(&adoption.replacing), &adoption);
        align(store, wake, &others, adoption.orphaned).await?;
        adoption = store.adopt(versions(&rules), clock::now()).await?;
    }
    let rules = in_force(rules, &adoption);
    align(store, wake, &rules, adoption.orphaned).await?;

    let lost = store.waiting_for_others(config.receivers.keys().cloned().collect()).await?;
    let given_up = AtomicUsize::new(0);
    in_parts(&lost, |ids| {
        let (keys, rules, given_up) = (of_deliveries(&ids), Arc::clone(&rules), &given_up);
        let give_up =
            move |snapshot: &Snapshot| engine::give_up(&rules, snapshot, &ids, clock::now());
        async move {
            given_up.fetch_add(transact(store, keys, give_up).await?, Ordering::Relaxed);
            Ok(())
        }
        .boxed()
    })
    .await?;
    let deliveries = given_up.into_inner();
    if deliveries > 0 {
        warn!(deliveries, "given up, since their receivers are no longer in the file");
    }
    Ok(rules)
}

/// Brings what is unfinished into line with the rules, the alerts of `orphaned` containers first.
async fn align(
    store: &dyn Store,
    wake: &Arc<Wake>,
    rules: &Arc<Rules>,
    orphaned: Vec<String>,
) -> anyhow::Result<()> {
    let orphaned = orphaned.into_iter().map(Into::into).collect();
    let orphaned = Keys { containers: orphaned, ..Keys::default() };
    schedule::look_at(store, rules, orphaned, wake).await?;
    let unfinished = store.unfinished().await?;
    in_parts(&unfinished.intervals, |ids| {
        let keys = Keys { intervals: ids.iter().copied().collect(), ..Keys::default() };
        let rules = Arc::clone(rules);
        let align = move |snapshot: &Snapshot| engine::align(&rules, snapshot, &ids, clock::now());
        transact(store, keys, align).boxed()
    })
    .await?;
    let groups = Keys { groups: unfinished.groups.into_iter().collect(), ..Keys::default() };
    schedule::look_at(store, rules, groups, wake).await?;
    Ok(())
}

fn of_deliveries(ids: &[DeliveryId]) -> Keys {
    Keys { deliveries: ids.iter().cloned().collect(), ..Keys::default() }
}

async fn listen(server: &config::Server) -> anyhow::Result<TcpListener> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host(&server.listen)
        .await
        .with_context(|| format!("cannot listen on {}: no such address", server.listen))?
        .collect();
    if let Some(address) = addresses.iter().find(|address| !address.ip().is_loopback()) {
        exposed(server, address)?.iter().for_each(|warning| warn!("{warning}"));
    }
    TcpListener::bind(&addresses[..]).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => anyhow!(
            "cannot listen on {}: the port is in use; stop what holds it, or choose another",
            server.listen
        ),
        _ => anyhow!(error).context(format!("cannot listen on {}", server.listen)),
    })
}

/// Whether tocsin may listen at an address where others than this machine reach it; and what there is to
/// warn of then.
///
/// # Errors
/// Why it may not, and what to do.
pub fn exposed(server: &config::Server, address: &SocketAddr) -> anyhow::Result<Vec<String>> {
    let missing = match (server.receive_tokens.is_empty(), server.admin.is_none()) {
        (true, true) => "`server.receive_token` and `server.admin`",
        (true, false) => "`server.receive_token`",
        (false, true) => "`server.admin`",
        (false, false) => "",
    };
    if !missing.is_empty() && !server.open {
        bail!(
            "refusing to listen on {address}, where others reach it, without {missing}: set what is \
             missing in the rules file, or listen on 127.0.0.1, or say `server.open: true` if \
             everyone there may post events and read them"
        );
    }
    let mut warnings = Vec::new();
    if !missing.is_empty() {
        warnings.push(format!(
            "everyone who reaches {address} may call: {missing} is not set, and `server.open` is"
        ));
    }
    if server.tls.is_none() && server.trusted_proxies.is_empty() {
        warnings.push(format!(
            "what is sent to {address} can be read on its way, passwords too: set `server.tls`, or \
             name the proxy that encrypts in `server.trusted_proxies`"
        ));
    }
    Ok(warnings)
}
