//! Reading PTX: statements end with `;`, labels with `:`, and braces between statements open and close scopes of register names.

use super::{Instruction, Kernel, Operand, Register, WITH_RESULT, WITHOUT_RESULT};
use std::collections::HashMap;

/// The kernels of a text.
///
/// # Errors
/// The line that is not understood.
pub fn kernels(text: &str) -> Result<Vec<Kernel>, String> {
    let text: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n")
        .collect();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(entry) = text[at..].find(".entry ") {
        let name_at = at + entry + ".entry ".len();
        let name = text[name_at..].split(['(', '\n', ' ']).next().unwrap_or_default();
        let open = text[name_at..].find('{').ok_or_else(|| format!("{name} has no body"))?;
        let start = name_at + open + 1;
        let mut reader = Reader::new(name, 1 + text[..start].matches('\n').count());
        at = start + reader.body(&text[start..])?;
        found.push(reader.finish()?);
    }
    Ok(found)
}

struct Reader {
    kernel: Kernel,
    line: usize,
    /// Names of the registers in the scopes around the current place, outermost first.
    scopes: Vec<HashMap<String, Register>>,
    labels: HashMap<String, usize>,
    /// Branches by their instruction, and the labels that they go to.
    branches: Vec<(usize, String)>,
}

impl Reader {
    fn new(name: &str, line: usize) -> Reader {
        Reader {
            kernel: Kernel {
                name: name.to_owned(),
                ..Kernel::default()
            },
            line,
            scopes: vec![HashMap::new()],
            labels: HashMap::new(),
            branches: Vec::new(),
        }
    }

    /// Reads up to the brace that closes the kernel; gives the bytes read.
    fn body(&mut self, text: &str) -> Result<usize, String> {
        let mut at = 0;
        loop {
            let rest = &text[at..];
            let blank = rest.len() - rest.trim_start().len();
            self.line += rest[..blank].matches('\n').count();
            at += blank;
            let rest = &text[at..];
            match rest.as_bytes().first() {
                None => return Err(format!("{} does not end", self.kernel.name)),
                Some(b'{') => {
                    self.scopes.push(HashMap::new());
                    at += 1;
                }
                Some(b'}') => {
                    self.scopes.pop();
                    at += 1;
                    if self.scopes.is_empty() {
                        return Ok(at);
                    }
                }
                Some(_) => {
                    let end = rest.find([';', ':']).map(|end| self.end(rest, end));
                    let end = end.ok_or_else(|| format!("line {}: no end of a statement", self.line))?;
                    let statement = &rest[..end];
                    if rest.as_bytes()[end] == b':' {
                        self.labels.insert(statement.trim().to_owned(), self.kernel.code.len());
                    } else {
                        self.statement(statement.trim())?;
                    }
                    self.line += statement.matches('\n').count();
                    at += end + 1;
                }
            }
        }
    }

    /// Where a statement that holds `:` ends: a label there, or at its `;` (`shared::cta`).
    fn end(&self, rest: &str, first: usize) -> usize {
        let label = rest[..first]
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_$".contains(c));
        if rest.as_bytes()[first] == b':' && !label {
            return rest.find(';').unwrap_or(first);
        }
        first
    }

    fn statement(&mut self, text: &str) -> Result<(), String> {
        if let Some(names) = text.strip_prefix(".reg ") {
            return self.declare(names);
        }
        if text.starts_with('.') {
            return Ok(());
        }
        let (guard, text) = match text.strip_prefix('@') {
            None => (None, text),
            Some(rest) => {
                let (guard, text) = rest.split_once(char::is_whitespace).ok_or_else(|| self.odd(text))?;
                let register = self.known(guard.trim_start_matches('!'));
                (Some(register.ok_or_else(|| self.odd(guard))?), text.trim())
            }
        };
        let (opcode, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let mut instruction = Instruction {
            line: self.line,
            guard,
            opcode: opcode.to_owned(),
            ..Instruction::default()
        };
        if !WITHOUT_RESULT.contains(&instruction.name()) && !WITH_RESULT.contains(&instruction.name()) {
            return Err(self.odd(opcode));
        }
        if instruction.is("bra") {
            self.branches.push((self.kernel.code.len(), rest.trim().to_owned()));
        } else {
            instruction.operands = operands(rest).into_iter().map(|text| self.operand(text)).collect();
        }
        self.kernel.code.push(instruction);
        Ok(())
    }

    fn odd(&self, text: &str) -> String {
        format!("line {}: `{text}` is not known", self.line)
    }

    /// `.f32 %f<3>`, `.pred p, q`.
    fn declare(&mut self, names: &str) -> Result<(), String> {
        let (_, names) = names
            .trim()
            .split_once(char::is_whitespace)
            .ok_or_else(|| self.odd(names))?;
        for name in names.split(',').map(str::trim) {
            let Some((stem, count)) = name.split_once('<') else {
                self.register(name.to_owned());
                continue;
            };
            let count: usize = count.trim_end_matches('>').parse().map_err(|_| self.odd(name))?;
            (0..count).for_each(|i| self.register(format!("{stem}{i}")));
        }
        Ok(())
    }

    fn register(&mut self, name: String) {
        let number = self.kernel.registers.len();
        self.kernel.registers.push(name.clone());
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name, number);
        }
    }

    fn known(&self, name: &str) -> Option<Register> {
        self.scopes.iter().rev().find_map(|scope| scope.get(name).copied())
    }

    fn operand(&self, text: &str) -> Operand {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "_$%".contains(c)));
        Operand {
            text: text.to_owned(),
            registers: words.filter_map(|word| self.known(word)).collect(),
        }
    }

    fn finish(mut self) -> Result<Kernel, String> {
        for (branch, label) in self.branches {
            let target = self.labels.get(&label).copied();
            let target = target.filter(|&t| t < self.kernel.code.len());
            self.kernel.code[branch].target = Some(target.ok_or_else(|| format!("no code at the label {label}"))?);
        }
        Ok(self.kernel)
    }
}

/// Parts between commas that stand in no brackets.
fn operands(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    let last = text[start..].trim();
    if !last.is_empty() {
        parts.push(last);
    }
    parts
}
