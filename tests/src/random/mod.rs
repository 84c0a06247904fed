//! Random specs as text: attention and its relatives, composed of random parts. Every decision follows from the seed.
//!
//! The parts are drawn independently: ranks before the tokens ([`leads`]), scores ([`score`]), conditions ([`domain`]), normalisers
//! ([`weights`]), results and second outputs ([`results`]). A family puts them together.

mod attention;
mod chains;
mod domain;
mod draw;
mod leads;
mod linear;
mod nested;
mod pairs;
mod results;
mod score;
mod text;
mod weights;

use draw::Draw;

/// The spec of a seed.
pub fn spec(seed: u64) -> String {
    let mut draw = Draw::new(seed);
    let family = match draw.below(20) {
        0..11 => attention::attention,
        11..13 => linear::linear,
        13 | 14 => chains::chain,
        15 => chains::scan,
        16 => nested::blocks,
        17 => nested::planes,
        18 => pairs::pair,
        _ => pairs::shared,
    };
    family(&mut draw)
}
