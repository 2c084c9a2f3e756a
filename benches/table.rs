//! All figures in one table: `cargo bench` runs this last, the benchmarks being run in the order of
//! their names.

mod limits;

use std::time::Duration;

use limits::Figures;

/// From when on figures may be of another run than the others.
const OLD: Duration = Duration::from_secs(2 * 3600);

fn main() -> anyhow::Result<()> {
    // `cargo bench` says so. Whoever runs it as a test, or lists its tests, finds none.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let (mut count, mut missed) = (0, 0);
    for (bench, ago, figures) in Figures::all()? {
        let old = match ago > OLD {
            true => format!(", {} hours ago", ago.as_secs() / 3600),
            false => String::new(),
        };
        println!("\n{bench}{old}");
        for figure in figures {
            println!("  {figure}");
            count += 1;
            missed += usize::from(!figure.is_kept());
        }
    }
    println!("\n{missed} of {count} limits are missed; what each means is in benches/README.md");
    Ok(())
}
