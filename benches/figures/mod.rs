//! What is made of times that were measured. It is apart from `process` since the load generator
//! needs it where no process is started.

/// Within what time, in milliseconds, this share of what took so many microseconds was done.
pub(crate) fn percentile(micros: &mut [u32], share: f64) -> f64 {
    micros.sort_unstable();
    let place = (micros.len() as f64 * share) as usize;
    let at = micros.get(place).or(micros.last());
    at.map_or(f64::NAN, |micros| f64::from(*micros) / 1e3)
}
