//! Completions and manual pages, made from the command line itself so that they cannot fall behind it.

use std::path::Path;

use clap_complete::Shell;

use super::Context;
use crate::command_line::{NAME, command};
use crate::exit::{Code, Failure};

pub(super) fn completion(context: Context<'_>) -> Result<Code, Failure> {
    let Some(shell) = context.matches.get_one::<Shell>("shell") else {
        return Err(Failure::usage("name a shell"));
    };
    let mut text = Vec::new();
    clap_complete::generate(*shell, &mut command(), NAME, &mut text);
    context.output.print(&String::from_utf8_lossy(&text))?;
    Ok(Code::Done)
}

pub(super) fn man(context: Context<'_>) -> Result<Code, Failure> {
    if let Some(folder) = context.text("folder") {
        clap_mangen::generate_to(command(), Path::new(folder)).map_err(|error| {
            Failure::new(Code::Failed, format!("the pages cannot be written into {folder}: {error}"))
        })?;
        return Ok(Code::Done);
    }
    let mut text = Vec::new();
    clap_mangen::Man::new(command()).render(&mut text)?;
    context.output.print(&String::from_utf8_lossy(&text))?;
    Ok(Code::Done)
}
