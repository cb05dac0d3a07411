//! The dictator's user at the nodes, to be pasted.

use super::Context;
use crate::doctor::nodes::{RULES_NEEDED, RULES_OBSERVING};
use crate::exit::{Code, Failure};

pub(super) fn acl(context: Context<'_>) -> Result<Code, Failure> {
    let Some(print) = context.matches.subcommand_matches("print") else {
        return Err(Failure::usage("name what to do: dictatorctl acl print"));
    };
    let user = print.get_one::<String>("user").map_or("dictator", String::as_str);
    if user.is_empty() || user.contains(|character: char| character.is_whitespace() || character.is_control())
    {
        return Err(Failure::usage(format!("--user {user:?}: a user name has no blanks")));
    }
    let mut rules: Vec<&str> = RULES_NEEDED.iter().map(|(rule, _)| *rule).collect();
    if print.get_flag("observing") {
        rules.extend(RULES_OBSERVING);
    }
    let rules = rules.join(" ");
    context
        .output
        .print(&format!("ACL SETUSER {user} on >PASSWORD resetkeys resetchannels -@all {rules}\n"))?;
    Ok(Code::Done)
}
