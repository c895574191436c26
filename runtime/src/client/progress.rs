// SPDX-License-Identifier: Apache-2.0
//! How far a pull is: a bar for each layer on a terminal, plain lines elsewhere.

use std::collections::HashMap;
use std::io::IsTerminal as _;

use indicatif::{DecimalBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use proto::husk::{LayerPhase, LayerProgress, ResolvedImage};

use crate::cli;

/// Shows a pull.
pub(super) struct Display {
    place: Place,
    layers: HashMap<String, Layer>,
}

enum Place {
    Terminal(MultiProgress),
    Lines,
}

struct Layer {
    bar: Option<ProgressBar>,
    phase: LayerPhase,
}

impl Display {
    /// On standard error, so that standard output is the result alone.
    pub(super) fn for_stderr() -> Self {
        let place = if std::io::stderr().is_terminal() {
            Place::Terminal(MultiProgress::with_draw_target(ProgressDrawTarget::stderr()))
        } else {
            Place::Lines
        };
        Self { place, layers: HashMap::new() }
    }

    /// The layers are known.
    pub(super) fn resolved(&mut self, image: &ResolvedImage) {
        let total = DecimalBytes(image.layers.iter().map(|layer| layer.size_bytes).sum());
        match image.layers.len() {
            0 => self.say(&format!("{}: here already", image.image_ref)),
            1 => self.say(&format!("{}: 1 layer, {total}", image.image_ref)),
            count => self.say(&format!("{}: {count} layers, {total}", image.image_ref)),
        }
        for layer in &image.layers {
            if self.layers.contains_key(&layer.digest) {
                continue;
            }
            let bar = match &self.place {
                Place::Terminal(all) => Some(all.add(bar(&short(&layer.digest), layer.size_bytes))),
                Place::Lines => None,
            };
            self.layers.insert(layer.digest.clone(), Layer { bar, phase: LayerPhase::Unspecified });
        }
    }

    /// A layer is further.
    pub(super) fn layer(&mut self, progress: &LayerProgress) {
        let Some(layer) = self.layers.get_mut(&progress.digest) else { return };
        if let Some(bar) = &layer.bar {
            bar.set_position(progress.downloaded_bytes);
        }
        let phase = progress.phase();
        if layer.phase == phase {
            return;
        }
        layer.phase = phase;
        let ended = matches!(phase, LayerPhase::Done | LayerPhase::Present);
        match &layer.bar {
            Some(bar) if ended => {
                bar.set_position(progress.size_bytes);
                bar.finish_with_message(word(phase));
            }
            Some(bar) => bar.set_message(word(phase)),
            None => {
                let line = line(progress);
                self.say(&line);
            }
        }
    }

    /// All is done.
    pub(super) fn finish(&self) {
        for layer in self.layers.values() {
            if let Some(bar) = &layer.bar {
                bar.finish();
            }
        }
    }

    fn say(&self, line: &str) {
        match &self.place {
            // A terminal that is gone ends the command soon enough.
            Place::Terminal(all) => drop(all.println(line)),
            Place::Lines => cli::complain(line),
        }
    }
}

fn bar(name: &str, size_bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(size_bytes);
    let template = "{prefix} [{bar:30}] {decimal_bytes:>10}/{decimal_total_bytes:<10} {msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(name.to_owned());
    bar
}

fn line(progress: &LayerProgress) -> String {
    let size = DecimalBytes(progress.size_bytes);
    format!("{}: {} ({size})", short(&progress.digest), word(progress.phase()))
}

/// The first twelve digits, as everybody shows layers.
fn short(digest: &str) -> String {
    digest.split_once(':').map_or(digest, |(_, hex)| hex).chars().take(12).collect()
}

fn word(phase: LayerPhase) -> &'static str {
    match phase {
        LayerPhase::Unspecified => "unknown to this client",
        LayerPhase::Waiting => "waiting",
        LayerPhase::Downloading => "downloading",
        LayerPhase::Unpacking => "unpacking",
        LayerPhase::Done => "done",
        LayerPhase::Present => "present",
    }
}

#[cfg(test)]
mod tests {
    use proto::husk::ResolvedLayer;

    use super::*;

    fn at(phase: LayerPhase) -> LayerProgress {
        LayerProgress {
            digest: format!("sha256:{}", "ab".repeat(32)),
            phase: phase.into(),
            downloaded_bytes: 7,
            size_bytes: 2_000,
        }
    }

    #[test]
    fn lines_are_short() {
        assert_eq!(line(&at(LayerPhase::Downloading)), "abababababab: downloading (2.00 kB)");
        assert_eq!(short("odd"), "odd");
    }

    #[test]
    fn a_layer_is_shown_once_and_its_phases_are_kept() {
        let mut display = Display {
            place: Place::Terminal(MultiProgress::with_draw_target(ProgressDrawTarget::hidden())),
            layers: HashMap::new(),
        };
        let layer = ResolvedLayer { digest: at(LayerPhase::Done).digest, size_bytes: 2_000 };
        let image = ResolvedImage { image_ref: "r.io/a@sha256:x".into(), layers: vec![layer.clone(), layer] };
        display.resolved(&image);
        assert_eq!(display.layers.len(), 1);
        let bar = display.layers.values().next().unwrap().bar.clone().unwrap();
        display.layer(&at(LayerPhase::Downloading));
        assert_eq!((bar.position(), bar.message().as_str()), (7, "downloading"));
        display.layer(&LayerProgress { digest: "sha256:other".into(), ..at(LayerPhase::Done) });
        assert!(!bar.is_finished());
        display.layer(&at(LayerPhase::Done));
        assert_eq!((bar.position(), bar.is_finished()), (2_000, true));
        display.finish();
    }
}
