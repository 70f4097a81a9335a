//! Pictures of what was measured.
//!
//! The same file gives the same pictures, byte for byte: they have no date but the file's, and rows
//! count, not their order within a block.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use plotters::coord::Shift;
use plotters::coord::ranged1d::Ranged;
use plotters::prelude::*;

use crate::measuring::{Measurement, Quartiles, read};

/// The value of a measurement that a picture shows, if it is known.
type Value = fn(&Measurement) -> Option<f64>;

const NS: Value = |one| Some(one.ns);
const ABORTS: Value = |one| one.aborts_per_million;

/// Draws all that can be drawn of these files; returns the pictures' files.
pub fn draw(files: &[PathBuf], folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut machines, mut measurements) = (Vec::new(), Vec::new());
    for file in files {
        let (notes, found) = read(file).with_context(|| format!("{} can't be read", file.display()))?;
        ensure!(!found.is_empty(), "{} has no measurements", file.display());
        machines.extend(notes);
        measurements.extend(found);
    }
    std::fs::create_dir_all(folder)?;
    let machine = in_order(machines.iter().map(String::as_str)).join("; ");
    let mut pictures = Vec::new();
    for structure in in_order(measurements.iter().map(|one| one.structure.as_str())) {
        let structure = Structure::of(structure, &machine, &measurements);
        pictures.extend(structure.draw(folder)?);
    }
    Ok(pictures)
}

/// The measurements of one structure.
struct Structure<'m> {
    name: &'m str,
    machine: &'m str,
    contenders: Vec<&'m str>,
    threads: Vec<usize>,
    measurements: Vec<&'m Measurement>,
}

/// A logarithmic one.
struct Axis {
    name: &'static str,
    range: Range<f64>,
}

const WIDTH: u32 = 960;
/// Of text.
const FONT: (&str, u32) = ("sans-serif", 14);

impl<'m> Structure<'m> {
    fn of(name: &'m str, machine: &'m str, all: &'m [Measurement]) -> Self {
        let measurements: Vec<_> = all.iter().filter(|one| one.structure == name).collect();
        let contenders = in_order(measurements.iter().map(|one| one.contender.as_str()));
        let threads: BTreeSet<_> = measurements.iter().map(|one| one.threads).collect();
        Self { name, machine, contenders, threads: threads.into_iter().collect(), measurements }
    }

    fn draw(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let path = |kind: &str| folder.join(format!("{}{kind}.svg", self.name));
        let mut pictures = vec![path("")];
        self.by_contender(&pictures[0])?;
        if self.is_of_aborts() {
            pictures.push(path("-rate"));
            self.by_length(&pictures[1])?;
        } else if self.threads.len() > 1 {
            pictures.push(path("-scaling"));
            self.by_threads(&pictures[1])?;
        }
        Ok(pictures)
    }

    /// True if most of it was aborted now and then.
    fn is_of_aborts(&self) -> bool {
        let is_aborted =
            |contender: &&&str| self.threads.iter().any(|&threads| self.rate(contender, threads).is_some());
        self.contenders.iter().filter(is_aborted).count() * 2 > self.contenders.len()
    }

    /// How long an operation takes, and how often it is aborted, if it is.
    fn rate(&self, contender: &str, threads: usize) -> Option<(f64, f64)> {
        let median = |value| Some(self.quartiles(contender, threads, value)?.median);
        median(NS).zip(median(ABORTS).filter(|aborts| *aborts > 0.0))
    }

    /// Over all blocks.
    fn quartiles(&self, contender: &str, threads: usize, value: Value) -> Option<Quartiles> {
        let own = self.measurements.iter().filter(|one| one.contender == contender && one.threads == threads);
        Quartiles::of(own.filter_map(|one| value(one)))
    }

    /// The axis of all medians, with some room.
    fn range(&self, value: Value) -> Result<Range<f64>> {
        let each =
            |&contender| self.threads.iter().filter_map(move |&threads| self.quartiles(contender, threads, value));
        // A zero has no place on such an axis.
        let ends = self.contenders.iter().flat_map(each).flat_map(|q| [q.low, q.high]).filter(|&end| end > 0.0);
        let (least, most) = ends.fold((f64::MAX, f64::MIN), |(least, most), end| (least.min(end), most.max(end)));
        ensure!(least <= most, "{}: nothing above 0", self.name);
        Ok(least / 1.5..most * 1.5)
    }

    /// A line for each contender: a point at the median for each number of threads, and the middle
    /// half around it.
    fn by_contender(&self, path: &Path) -> Result<()> {
        let rows = self.contenders.len();
        let root = SVGBackend::new(path, (WIDTH, 110 + 26 * rows as u32)).into_drawing_area();
        let mut chart =
            self.chart(&root, 260)?.build_cartesian_2d(self.range(NS)?.log_scale(), (0..rows - 1).into_segmented())?;
        chart
            .configure_mesh()
            .label_style(FONT)
            .y_labels(rows)
            .y_label_formatter(&|row| match row {
                SegmentValue::CenterOf(row) => {
                    self.contenders.iter().nth_back(*row).copied().unwrap_or_default().to_owned()
                }
                _ => String::new(),
            })
            .x_desc("ns per operation")
            .x_label_formatter(&short)
            .draw()?;
        for (number, &threads) in self.threads.iter().enumerate() {
            let style = color(number);
            let found = self.contenders.iter().rev().enumerate();
            let found =
                found.filter_map(|(row, name)| Some((SegmentValue::CenterOf(row), self.quartiles(name, threads, NS)?)));
            let found: Vec<_> = found.collect();
            let spread =
                found.iter().map(|(row, q)| PathElement::new([(q.low, row.clone()), (q.high, row.clone())], style));
            chart.draw_series(spread)?;
            let medians = found.iter().map(|(row, q)| Circle::new((q.median, row.clone()), 4, style.filled()));
            chart.draw_series(medians)?.label(in_words(threads)).legend(move |at| Circle::new(at, 4, style.filled()));
        }
        legend(&mut chart, SeriesLabelPosition::UpperRight)?;
        Ok(root.present()?)
    }

    /// How often what takes so long is aborted: a line for each number of threads.
    fn by_length(&self, path: &Path) -> Result<()> {
        let line = |&threads: &usize| {
            let mut points: Vec<_> =
                self.contenders.iter().filter_map(|contender| self.rate(contender, threads)).collect();
            points.sort_by(|one, other| one.0.total_cmp(&other.0));
            (in_words(threads), points)
        };
        let x = Axis { name: "ns per operation", range: self.range(NS)? };
        let y = Axis { name: "aborts in a million operations", range: self.range(ABORTS)? };
        self.lines(path, [x, y], self.threads.iter().map(line), SeriesLabelPosition::LowerRight)
    }

    /// A line for each contender, by the number of threads.
    fn by_threads(&self, path: &Path) -> Result<()> {
        let line = |contender: &&str| {
            let point = |&threads: &usize| Some((threads as f64, self.quartiles(contender, threads, NS)?.median));
            ((*contender).to_owned(), self.threads.iter().filter_map(point).collect())
        };
        let (first, last) = (self.threads[0] as f64, self.threads[self.threads.len() - 1] as f64);
        // The names of the lines stand to the right of the last point.
        let x = Axis { name: "threads", range: first / 1.2..last * (last / first).powf(0.6) };
        let y = Axis { name: "ns per operation", range: self.range(NS)? };
        self.lines(path, [x, y], self.contenders.iter().map(line), SeriesLabelPosition::UpperRight)
    }

    /// Lines with their names, which stand there.
    fn lines(
        &self,
        path: &Path,
        [x, y]: [Axis; 2],
        lines: impl Iterator<Item = (String, Vec<(f64, f64)>)>,
        names: SeriesLabelPosition,
    ) -> Result<()> {
        let root = SVGBackend::new(path, (WIDTH, 480)).into_drawing_area();
        let mut chart = self.chart(&root, 70)?.build_cartesian_2d(x.range.log_scale(), y.range.log_scale())?;
        chart
            .configure_mesh()
            .label_style(FONT)
            .x_desc(x.name)
            .x_label_formatter(&short)
            .y_desc(y.name)
            .y_label_formatter(&short)
            .draw()?;
        for (number, (name, points)) in lines.enumerate() {
            let style = color(number);
            let line = LineSeries::new(points, style.stroke_width(2)).point_size(3);
            chart.draw_series(line)?.label(name).legend(move |at| sample(at, style));
        }
        legend(&mut chart, names)?;
        Ok(root.present()?)
    }

    /// White, with a title, and so much room for what stands at the left.
    fn chart<'a, 'p>(
        &self,
        root: &'a DrawingArea<SVGBackend<'p>, Shift>,
        left: u32,
    ) -> Result<ChartBuilder<'a, 'a, SVGBackend<'p>>> {
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(root);
        chart
            .caption(format!("{} ({})", self.name, self.machine), FONT)
            .margin(10)
            .x_label_area_size(45)
            .y_label_area_size(left);
        Ok(chart)
    }
}

/// Of what lies on an axis side by side: first those that nobody takes for each other (Okabe and
/// Ito, "Color universal design", 2008).
fn color(number: usize) -> RGBColor {
    const FIRST: [RGBColor; 6] = [
        RGBColor(0, 114, 178),
        RGBColor(213, 94, 0),
        RGBColor(0, 158, 115),
        RGBColor(204, 121, 167),
        RGBColor(230, 159, 0),
        RGBColor(86, 180, 233),
    ];
    let (red, green, blue) = Palette99::pick(number).to_backend_color().rgb;
    FIRST.get(number).copied().unwrap_or(RGBColor(red, green, blue))
}

/// The sample of a line beside its name.
fn sample((x, y): (i32, i32), color: RGBColor) -> PathElement<(i32, i32)> {
    PathElement::new([(x, y), (x + 16, y)], color.stroke_width(3))
}

fn in_words(threads: usize) -> String {
    format!("{threads} thread{}", if threads == 1 { "" } else { "s" })
}

/// A number on an axis whose steps are powers of ten.
fn short(number: &f64) -> String {
    format!("{}", (number * 1e4).round() / 1e4)
}

fn legend<'p, X: Ranged, Y: Ranged>(
    chart: &mut ChartContext<'p, SVGBackend<'p>, Cartesian2d<X, Y>>,
    position: SeriesLabelPosition,
) -> Result<()> {
    let mut labels = chart.configure_series_labels();
    labels.label_font(FONT).position(position).background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.3));
    Ok(labels.draw()?)
}

/// Each once, where it came first.
fn in_order<'n>(names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let mut seen = BTreeSet::new();
    names.filter(|name| seen.insert(*name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: &str = "\
# a machine, 2 CPUs
structure,contender,threads,block,ns,cpu_ns,aborts_per_million,least_share
counter,section,1,0,1.5,1.5,,1.0
counter,\"atomic, shared\",1,0,4.0,4.0,,1.0
counter,section,1,1,1.25,1.25,,1.0
counter,\"atomic, shared\",1,1,5.0,5.0,,1.0
counter,section,8,0,1.75,1.75,,1.0
counter,\"atomic, shared\",8,0,90.0,90.0,,1.0
list,section,2,0,3.0,3.0,0.0,1.0
aborts,prepare of 10 steps,1,0,9.0,9.0,1.5,1.0
aborts,prepare of 10 steps,4,0,9.0,9.0,25.0,1.0
";

    /// The pictures of a file with this text, by name.
    fn pictures(csv: &str) -> Vec<(String, String)> {
        let folder = tempfile::tempdir().expect("there is room");
        let file = folder.path().join("bench.csv");
        std::fs::write(&file, csv).expect("there is room");
        let drawn = draw(&[file], &folder.path().join("out")).expect("the file is right");
        let name = |path: &Path| path.file_name().expect("a file").to_string_lossy().into_owned();
        drawn.iter().map(|path| (name(path), std::fs::read_to_string(path).expect("it was drawn"))).collect()
    }

    #[test]
    fn each_structure_has_its_pictures() {
        let drawn = pictures(CSV);
        let names: Vec<_> = drawn.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["counter.svg", "counter-scaling.svg", "list.svg", "aborts.svg", "aborts-rate.svg"]);
        for (name, picture) in &drawn {
            assert!(picture.contains("a machine, 2 CPUs"), "{name}");
        }
        for picture in &drawn[..2] {
            assert!(picture.1.contains("atomic, shared") && picture.1.contains("section"));
        }
        assert!(drawn[0].1.contains("8 threads") && drawn[0].1.contains("1 thread\n"), "{}", drawn[0].1);
    }

    #[test]
    fn the_same_file_gives_the_same_pictures() {
        assert_eq!(pictures(CSV), pictures(CSV));
        let other = CSV.replace("90.0", "60.0");
        assert_ne!(pictures(CSV)[0], pictures(&other)[0]);
        assert_eq!(pictures(CSV)[2], pictures(&other)[2]);
    }

    #[test]
    fn what_has_no_measurements_is_an_error() {
        let folder = tempfile::tempdir().expect("there is room");
        let files = [folder.path().join("bench.csv")];
        let [file] = &files;
        assert!(format!("{:#}", draw(&files, folder.path()).unwrap_err()).contains("can't be read"));
        std::fs::write(file, "# a machine\n").expect("there is room");
        assert!(format!("{:#}", draw(&files, folder.path()).unwrap_err()).contains("no measurements"));
        std::fs::write(file, CSV.replace("1.25", "fast")).expect("there is room");
        assert!(draw(&files, folder.path()).is_err());
    }
}
