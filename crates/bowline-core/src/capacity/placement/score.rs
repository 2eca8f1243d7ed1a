//! How the scheduler rates the nodes that take a pod, from 0 to 100 by each of its plugins (kube-scheduler 1.35).
//!
//! It counts in whole numbers; where it uses floating point, so does this.
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use super::board::{Board, Field};
use super::demand::Demand;
use super::rule::{Rules, Soft};
use super::shape::{Reach, Shape};
use super::table::{at, signed};
use super::terrain::{CPU, MEMORY};

const BEST: i64 = 100;

/// How a node is rated for a pod, by the scheduler's plugins, each from 0 to 100.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Score {
    /// `TaintToleration`: few taints that would rather not have it. Counts three times.
    pub taints: i64,
    /// `NodeAffinity`: the pod's preferences among nodes. Counts twice.
    pub affinity: i64,
    /// `NodeResourcesFit`: much that is free.
    pub least: i64,
    /// `NodeResourcesBalancedAllocation`: processor and memory taken alike.
    pub balanced: i64,
    /// `PodTopologySpread`: few pods like it nearby. Counts twice.
    pub spread: i64,
    /// `InterPodAffinity`: the company it prefers. Counts twice.
    pub company: i64,
    /// `ImageLocality`: images that are there.
    pub images: i64,
}

impl Score {
    /// All of them together, weighed as the scheduler does by default.
    pub const fn total(&self) -> i64 {
        let twice = self.affinity + self.spread + self.company;
        3 * self.taints + 2 * twice + self.least + self.balanced + self.images
    }
}

/// How a node is rated for a demand: by how much is free, and by how evenly it is used.
pub(super) fn rate_room(demand: &Demand, room: &[i64], used: &[i64], weight: [i64; 2]) -> (u8, u8) {
    let pair = |row: &[i64]| [at(row, CPU), at(row, MEMORY)];
    let (room, used, asked) = (pair(room), pair(used), pair(&demand.row));
    let (mut sum, mut parts) = (0, 0);
    let mut shares = Vec::with_capacity(2);
    for (((all, weight), least), (used, asked)) in
        room.into_iter().zip(weight).zip(demand.least).zip(used.into_iter().zip(asked))
    {
        if all == 0 {
            continue;
        }
        let taken = weight.saturating_add(least);
        sum += if taken > all { 0 } else { (i128::from(all - taken) * 100 / i128::from(all)) as i64 };
        parts += 1;
        shares.push((used.saturating_add(asked) as f64 / all as f64).min(1.0));
    }
    let least = if parts == 0 { 0 } else { sum / parts };
    let deviation = match shares[..] {
        [one, other] => ((one - other) / 2.0).abs(),
        _ => 0.0,
    };
    let balanced = if asked == [0, 0] { 0 } else { ((1.0 - deviation) * BEST as f64) as i64 };
    (least.clamp(0, BEST) as u8, balanced.clamp(0, BEST) as u8)
}

impl Board {
    /// How these nodes, all that take a pod of this shape, are rated for it.
    pub(super) fn rate(&mut self, field: &Field<'_>, place: usize, nodes: &[usize]) -> Vec<Score> {
        let Some(shape) = field.shape(place) else { return Vec::new() };
        let mut scores = vec![Score::default(); nodes.len()];
        if let Some(reach) = field.shapes.reaches.get(shape.reach) {
            rate_reach(reach, nodes, &mut scores);
        }
        if !shape.rules.soft.is_empty() {
            self.rate_spread(field, &shape.rules, nodes, &mut scores);
        }
        if !shape.rules.drawn.is_empty() {
            self.rate_company(field, &shape.rules, nodes, &mut scores);
        }
        self.weigh_images(field, shape);
        for (node, score) in nodes.iter().zip(&mut scores) {
            let cell = self.cell(field, shape.demand, *node);
            score.least = i64::from(cell.least);
            score.balanced = i64::from(cell.balanced);
            score.images = self.images.get(shape.images).map_or(0, |row| at(row, *node));
        }
        scores
    }

    fn weigh_images(&mut self, field: &Field<'_>, shape: &Shape<'_>) {
        if let Some(row) = self.images.get_mut(shape.images)
            && row.is_empty()
        {
            *row = field.terrain.weigh_images(shape.spec, &self.alive);
        }
    }

    fn rate_company(&self, field: &Field<'_>, rules: &Rules, nodes: &[usize], scores: &mut [Score]) {
        for (node, score) in nodes.iter().zip(&mut *scores) {
            let worth = rules.drawn.iter().filter_map(|(tally, weight)| {
                Some(self.count(field, *tally, *node)?.saturating_mul(*weight))
            });
            score.company = worth.fold(0, i64::saturating_add);
        }
        let least = scores.iter().map(|score| score.company).min().unwrap_or(0);
        let most = scores.iter().map(|score| score.company).max().unwrap_or(0);
        for score in scores {
            let share = (score.company - least) as f64 / (most - least) as f64;
            score.company = if most > least { (BEST as f64 * share) as i64 } else { 0 };
        }
    }

    fn rate_spread(&self, field: &Field<'_>, rules: &Rules, nodes: &[usize], scores: &mut [Score]) {
        let labelled = |soft: &Soft, node: usize| field.terrain.domain(soft.topology, node).is_some();
        let counts = |node: usize| !rules.strict || rules.soft.iter().all(|soft| labelled(soft, node));
        let rated: Vec<usize> = nodes.iter().copied().filter(|node| counts(*node)).collect();
        let widths: Vec<f64> = rules.soft.iter().map(|soft| width(field, soft, &rated)).collect();
        let raw = |node: usize| {
            let parts = rules.soft.iter().zip(&widths).filter(|(soft, _)| labelled(soft, node));
            let sum: f64 = parts
                .map(|(soft, width)| {
                    let there = self.count(field, soft.tally, node).unwrap_or(0);
                    there as f64 * width + (soft.skew - 1) as f64
                })
                .sum();
            sum.round() as i64
        };
        let raws: Vec<Option<i64>> = nodes.iter().map(|node| counts(*node).then(|| raw(*node))).collect();
        let least = raws.iter().flatten().min().copied().unwrap_or(0);
        let most = raws.iter().flatten().max().copied().unwrap_or(0);
        for (score, raw) in scores.iter_mut().zip(raws) {
            score.spread = match raw {
                None => 0,
                Some(_) if most == 0 => BEST,
                Some(raw) => BEST * (most + least - raw) / most,
            };
        }
    }
}

/// The weight of one topology's counts: those of few domains should not drown in those of many.
fn width(field: &Field<'_>, soft: &Soft, rated: &[usize]) -> f64 {
    let domains = if soft.host {
        rated.len()
    } else {
        // Nodes without the label are one domain here, as upstream has it.
        let mut all: Vec<Option<usize>> =
            rated.iter().map(|node| field.terrain.domain(soft.topology, *node)).collect();
        all.sort_unstable();
        all.dedup();
        all.len()
    };
    (signed(domains + 2) as f64).ln()
}

fn rate_reach(reach: &Reach, nodes: &[usize], scores: &mut [Score]) {
    let most = |row: &[i64]| nodes.iter().map(|node| at(row, *node)).max().unwrap_or(0);
    let (reserves, wishes) = (most(&reach.reserves), most(&reach.wishes));
    for (node, score) in nodes.iter().zip(scores) {
        let reserve = BEST * at(&reach.reserves, *node);
        score.taints = if reserves == 0 { BEST } else { BEST - reserve / reserves };
        let wish = BEST * at(&reach.wishes, *node);
        score.affinity = if !reach.wishing || wishes == 0 { 0 } else { wish / wishes };
    }
}
