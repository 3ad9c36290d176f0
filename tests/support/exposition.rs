//! Prometheus' text format, version 0.0.4, read strictly.

use std::collections::BTreeMap;

/// One line with a value.
#[derive(Clone, Debug)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// A metric with all that is said of it.
#[derive(Clone, Debug, Default)]
pub struct Family {
    pub help: String,
    pub kind: String,
    pub samples: Vec<Sample>,
}

/// A page of metrics.
#[derive(Clone, Debug, Default)]
pub struct Exposition {
    pub families: BTreeMap<String, Family>,
}

impl Exposition {
    /// Reads a page; panics where a line is not of the format, a family comes twice, a series comes
    /// twice, or a histogram is none.
    pub fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line ends");
        let (mut page, mut current, mut help) = (Self::default(), String::new(), None);
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, said) = rest.split_once(' ').unwrap_or((rest, ""));
                help = Some((name.to_owned(), said.to_owned()));
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type");
                let (of, said) = help.take().expect("help comes before the type");
                assert_eq!(of, name, "help and type are of one metric");
                let family = Family { help: said, kind: kind.to_owned(), samples: Vec::new() };
                let twice = page.families.insert(name.to_owned(), family);
                assert!(twice.is_none(), "{name} comes twice");
                current = name.to_owned();
            } else {
                let sample = sample(line);
                let family = page.families.get_mut(&current).expect("a type comes first");
                let suffix = sample.name.strip_prefix(&current).unwrap_or("?");
                let fits = match family.kind.as_str() {
                    "histogram" => ["_bucket", "_sum", "_count"].contains(&suffix),
                    "counter" | "gauge" => suffix.is_empty(),
                    other => panic!("{current} is a {other}"),
                };
                assert!(fits, "{line:?} is no sample of {current}");
                family.samples.push(sample);
            }
        }
        page.check();
        page
    }

    fn check(&self) {
        for (name, family) in &self.families {
            let mut seen = std::collections::BTreeSet::new();
            for Sample { name, labels, .. } in &family.samples {
                assert!(seen.insert((name, labels)), "{name}{labels:?} comes twice");
            }
            if family.kind == "histogram" {
                buckets(name, family);
            }
        }
    }

    /// The sum of the samples with this name that have these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |sample: &&Sample| {
            let of = |(name, value): &(&str, &str)| {
                sample.labels.get(*name).is_some_and(|held| held == value)
            };
            sample.name == name && labels.iter().all(of)
        };
        self.families.values().flat_map(|f| &f.samples).filter(has).map(|s| s.value).sum()
    }
}

/// The buckets of each series rise up to its count.
fn buckets(name: &str, family: &Family) {
    let mut series: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
    let mut counts = BTreeMap::new();
    for sample in &family.samples {
        let mut labels = sample.labels.clone();
        if sample.name.ends_with("_bucket") {
            let bound = number(&labels.remove("le").expect("a bucket has a bound"));
            series.entry(labels).or_default().push((bound, sample.value));
        } else if sample.name.ends_with("_count") {
            counts.insert(labels, sample.value);
        }
    }
    assert_eq!(series.len(), counts.len(), "{name}");
    for (labels, buckets) in series {
        let rises = buckets.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 <= w[1].1);
        assert!(rises, "{name}{labels:?}: {buckets:?}");
        let last = buckets.last().expect("buckets");
        assert_eq!(*last, (f64::INFINITY, counts[&labels]), "{name}{labels:?}");
    }
}

fn sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).expect("a name ends");
    let (name, mut rest) = line.split_at(end);
    let is_name = |text: &str| {
        let first = text.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        first && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    assert!(is_name(name), "{line:?}");
    let mut labels = BTreeMap::new();
    if let Some(mut inside) = rest.strip_prefix('{') {
        while let Some((label, after)) = inside.split_once("=\"") {
            assert!(is_name(label), "{line:?}");
            let (value, after) = after.split_once('"').expect("a value ends");
            assert!(!value.contains('\\'), "no value of ours needs escapes: {line:?}");
            assert!(labels.insert(label.to_owned(), value.to_owned()).is_none(), "{line:?}");
            inside = after.strip_prefix(',').unwrap_or(after);
            if inside.starts_with('}') {
                break;
            }
        }
        rest = inside.strip_prefix('}').expect("labels end");
    }
    let value = number(rest.strip_prefix(' ').expect("a value follows"));
    Sample { name: name.to_owned(), labels, value }
}

fn number(text: &str) -> f64 {
    match text {
        "+Inf" => f64::INFINITY,
        text => text.parse().unwrap_or_else(|_| panic!("{text:?} is no number")),
    }
}
