//! What every store must do, one behaviour a test. A behaviour takes a [`Bed`] and knows no SQL.

mod accepting;
mod access;
mod audiences;
pub(crate) mod bed;
mod behind;
mod commits;
mod contacts;
mod doubts;
mod erasure;
mod events;
mod exclusions;
mod keys;
mod leases;
mod life;
mod overview;
mod pauses;
mod random;
mod rates;
mod receipts;
mod references;
mod stopping;

pub(crate) use bed::Bed;

/// Runs each behaviour named on every store.
macro_rules! on_each_store {
    ($($behaviour:ident),+ $(,)?) => {
        mod postgres {
            $(#[tokio::test]
            async fn $behaviour() {
                super::$behaviour(&crate::store::Bed::postgres().await).await;
            })+
        }
        mod sqlite {
            $(#[tokio::test]
            async fn $behaviour() {
                super::$behaviour(&crate::store::Bed::sqlite().await).await;
            })+
        }
    };
}
pub(crate) use on_each_store;
