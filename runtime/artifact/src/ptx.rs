//! Just enough reading of PTX text to compare an `.entry` with its description.
//!
//! The driver reads as many argument pointers as the entry declares parameters, so a manifest that lists fewer would make
//! it read past the end. Comments are skipped; a text that is no PTX gives no entry and is left to the assembler.

/// Sizes in bytes of the parameters of `.entry name`, `None` where the text has no such entry in a form that can be read.
pub(crate) fn entry_params(ptx: &str, name: &str) -> Option<Vec<usize>> {
    let text = without_comments(ptx);
    let mut found = None;
    for rest in text.split(".entry").skip(1) {
        let Some(after) = rest.trim_start().strip_prefix(name) else {
            continue;
        };
        if !rest.starts_with(char::is_whitespace) || after.starts_with(is_name_char) {
            continue;
        }
        // Two entries of one name: which one the assembler would take is unknown.
        if found.is_some() {
            return None;
        }
        found = Some(after.trim_start());
    }
    let after = found?;
    let Some(list) = after.strip_prefix('(') else {
        return Some(Vec::new());
    };
    let (list, _) = list.split_once(')')?;
    if list.trim().is_empty() {
        return Some(Vec::new());
    }
    list.split(',').map(param_size).collect()
}

/// `.param .u64 .ptr .global .align 16 k_param_0` has 8 bytes, `.param .align 64 .b8 k_param_1[128]` has 128.
fn param_size(param: &str) -> Option<usize> {
    let mut words = param.split_whitespace();
    if words.next()? != ".param" {
        return None;
    }
    let element = words.find_map(type_size)?;
    match param.split_once('[') {
        None => Some(element),
        Some((_, count)) => count
            .split_once(']')?
            .0
            .trim()
            .parse::<usize>()
            .ok()?
            .checked_mul(element),
    }
}

fn type_size(word: &str) -> Option<usize> {
    let bits = word.strip_prefix(['.'])?.strip_prefix(['u', 's', 'b', 'f'])?;
    match bits {
        "8" => Some(1),
        "16" => Some(2),
        "32" => Some(4),
        "64" => Some(8),
        _ => None,
    }
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '%')
}

fn without_comments(ptx: &str) -> String {
    let mut text = String::with_capacity(ptx.len());
    let mut rest = ptx;
    while let Some(start) = rest.find('/') {
        let (before, comment) = rest.split_at(start);
        text.push_str(before);
        let end = if comment.starts_with("//") {
            comment.find('\n').unwrap_or(comment.len())
        } else if comment.starts_with("/*") {
            comment
                .get(2..)
                .and_then(|body| body.find("*/"))
                .map_or(comment.len(), |end| end + 4)
        } else {
            text.push('/');
            1
        };
        rest = comment.get(end..).unwrap_or_default();
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::entry_params;

    #[test]
    fn reads_parameters() {
        let ptx = ".visible .entry k2(\n.param .u32 k2_0\n)\n{}\n// .entry k(.param .u8 x)\n/* .entry k() */\
                   .visible .entry k(\n\t.param .u64 .ptr .global .align 1 k_param_0,\n\t.param .f32 k_param_1,\
                   \n\t.param .align 64 .b8 k_param_2[128]\n)\n{ ret; }";
        assert_eq!(entry_params(ptx, "k"), Some(vec![8, 4, 128]));
        assert_eq!(entry_params(ptx, "k2"), Some(vec![4]));
        assert_eq!(entry_params(ptx, "k3"), None);
        assert_eq!(entry_params(".entry k .maxntid 1 {}", "k"), Some(vec![]));
        assert_eq!(entry_params(".entry k() {} .entry k() {}", "k"), None);
        assert_eq!(entry_params(".entry k(.param .u64", "k"), None);
        assert_eq!(entry_params(".entry k(.reg .u64 a)", "k"), None);
    }

    #[test]
    fn open_comments_end_with_the_text() {
        assert_eq!(entry_params("/* .entry k()", "k"), None);
        assert_eq!(entry_params("/*/ .entry k()", "k"), None);
        assert_eq!(entry_params("/", "k"), None);
    }
}
