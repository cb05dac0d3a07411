//! Making tokens. Nothing is sent and nothing is kept: the line goes into the daemons' files by other hands.

use serde_json::json;
use service::auth::{Role, mint};

use super::Context;
use crate::exit::{Code, Failure};

pub(super) fn token(context: Context<'_>) -> Result<Code, Failure> {
    let Some(new) = context.matches.subcommand_matches("new") else {
        return Err(Failure::usage("name what to do: dictatorctl token new --name NAME --role ROLE"));
    };
    let text = |name: &str| new.get_one::<String>(name).map_or("", String::as_str);
    let role: Role = text("role").parse().map_err(|error| Failure::usage(format!("--role: {error}")))?;
    let minted = mint(text("name"), role)
        .map_err(|error| Failure::usage(format!("--name {:?}: {error}", text("name"))))?;
    let value = json!({ "token": minted.token.expose(), "line": minted.line });
    context.output.answer(&value, |_| {
        format!(
            "token, shown this once, for its holder:\n{}\n\nline for the file of --tokens-file at the daemons:\n{}\n",
            minted.token.expose(),
            minted.line
        )
    })?;
    Ok(Code::Done)
}
