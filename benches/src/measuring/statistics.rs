//! Statistics of measurements.

use std::fmt::Write;

use super::sheet::Measurement;

/// The middle of some values, and the middles of what is below and above it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quartiles {
    /// A quarter is below.
    pub low: f64,
    /// Half is below.
    pub median: f64,
    /// Three quarters are below.
    pub high: f64,
}

impl Quartiles {
    /// Between two values it is the way from one to the other. `None` of no values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let at = |part: f64| {
            let place = part * last as f64;
            let (below, above) = (values[place.floor() as usize], values[place.ceil() as usize]);
            below + (above - below) * place.fract()
        };
        Some(Self { low: at(0.25), median: at(0.5), high: at(0.75) })
    }
}

/// The time of a contender, in nanoseconds.
pub fn times(measurements: &[Measurement], contender: &str) -> Option<Quartiles> {
    Quartiles::of(of(measurements, contender).map(|one| one.ns))
}

/// The time of a contender in terms of what another took in the same block.
pub fn ratios(measurements: &[Measurement], contender: &str, reference: &str) -> Option<Quartiles> {
    let in_block = |block| of(measurements, reference).find(|one| one.block == block);
    Quartiles::of(of(measurements, contender).filter_map(|one| Some(one.ns / in_block(one.block)?.ns)))
}

fn of<'m>(measurements: &'m [Measurement], contender: &str) -> impl Iterator<Item = &'m Measurement> {
    measurements.iter().filter(move |one| one.contender == contender)
}

/// A table, in Markdown, of what was measured of one structure by so many threads: times, and
/// ratios to one contender.
pub fn table(measurements: &[Measurement], reference: &str) -> String {
    let mut table = format!(
        "| | ns | CPU ns | aborts in a million | least share | of {reference} | middle half |\n|---|---|---|---|---|---|---|\n"
    );
    // Each block has all contenders in the same order.
    for first in measurements.iter().take_while(|one| one.block == measurements[0].block) {
        let own = || of(measurements, &first.contender);
        let median = |values: &mut dyn Iterator<Item = f64>| Quartiles::of(values).map(|quartiles| quartiles.median);
        let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
        let ns = number(median(&mut own().map(|one| one.ns)));
        let cpu_ns = number(median(&mut own().map(|one| one.cpu_ns)));
        let aborts = number(median(&mut own().filter_map(|one| one.aborts_per_million)));
        let least = number(median(&mut own().map(|one| one.least_share)));
        let ratio = ratios(measurements, &first.contender, reference);
        let (middle, spread) = ratio.map_or_else(Default::default, |Quartiles { low, median, high }| {
            (format!("{median:.2}"), format!("{low:.2} - {high:.2}"))
        });
        writeln!(table, "| {} | {ns} | {cpu_ns} | {aborts} | {least} | {middle} | {spread} |", first.contender)
            .expect("a string takes everything");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(contender: &str, block: usize, ns: f64) -> Measurement {
        let (structure, contender) = ("counter".to_owned(), contender.to_owned());
        Measurement {
            structure,
            contender,
            threads: 1,
            block,
            ns,
            cpu_ns: ns * 2.0,
            aborts_per_million: None,
            least_share: 1.0,
        }
    }

    #[test]
    fn quartiles() {
        assert_eq!(Quartiles::of([]), None);
        assert_eq!(Quartiles::of([7.0]), Some(Quartiles { low: 7.0, median: 7.0, high: 7.0 }));
        assert_eq!(Quartiles::of([5.0, 1.0, 4.0, 2.0, 3.0]), Some(Quartiles { low: 2.0, median: 3.0, high: 4.0 }));
        assert_eq!(Quartiles::of([4.0, 1.0, 3.0, 2.0]), Some(Quartiles { low: 1.75, median: 2.5, high: 3.25 }));
    }

    /// Neither the ratio of the medians, which is 10, nor that of neighbours in the file.
    #[test]
    fn ratios_are_within_blocks() {
        let measurements = [
            measured("a", 0, 1.0),
            measured("b", 0, 30.0),
            measured("a", 1, 10.0),
            measured("b", 1, 20.0),
            measured("b", 2, 100.0),
            measured("a", 2, 25.0),
            measured("b", 3, 1.0),
        ];
        assert_eq!(ratios(&measurements, "b", "a"), Some(Quartiles { low: 3.0, median: 4.0, high: 17.0 }));
        assert_eq!(ratios(&measurements, "a", "a").map(|ratio| ratio.high), Some(1.0));
        assert_eq!(ratios(&measurements, "b", "c"), None);
        assert_eq!(times(&measurements, "a").map(|times| times.median), Some(10.0));
    }

    #[test]
    fn tables_have_a_row_for_each_contender() {
        let measurements = [measured("a", 0, 2.0), measured("b", 0, 3.0), measured("a", 1, 2.0), measured("b", 1, 3.0)];
        let expected = "| | ns | CPU ns | aborts in a million | least share | of a | middle half |\n|---|---|---|---|---|---|---|\n\
                        | a | 2.00 | 4.00 | - | 1.00 | 1.00 | 1.00 - 1.00 |\n| b | 3.00 | 6.00 | - | 1.00 | 1.50 | 1.50 - 1.50 |\n";
        assert_eq!(table(&measurements, "a"), expected);
    }
}
