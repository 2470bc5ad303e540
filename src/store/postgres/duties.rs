//! Duties: what only one daemon does at a time, by the database's own clock.

use deadpool_postgres::GenericClient;

use crate::store::Result;
use crate::store::jobs::Incarnation;

/// Takes a duty, or keeps it, for ten seconds; it is renewed when half of them are gone. Returns whether it is `me`
/// whose duty it is: a daemon that stops asking loses it, one that dies, too.
pub(super) async fn take(client: &impl GenericClient, duty: &str, me: Incarnation) -> Result<bool> {
    let mine = client
        .query_opt(
            "SELECT FROM duties WHERE name = $1 AND owner = $2 AND until > now() + interval '5 s'",
            &[&duty, &me.0],
        )
        .await?;
    if mine.is_some() {
        return Ok(true);
    }
    let taken = client
        .execute(
            "INSERT INTO duties (name, owner, until) VALUES ($1, $2, now() + interval '10 s')
             ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until = excluded.until
             WHERE duties.owner = excluded.owner OR duties.until <= now()",
            &[&duty, &me.0],
        )
        .await?;
    Ok(taken > 0)
}
