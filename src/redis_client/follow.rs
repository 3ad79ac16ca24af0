//! Follows the changes of a hash: those that [`RedisClient::edit`] publishes, and the
//! keyspace notifications of the server if `notify-keyspace-events` is set.

use super::{
    Notice, RedisClient, RedisFailure,
    connection::Server,
    edit::{ALL, channel},
};
use futures_util::StreamExt as _;
use redis::{Msg, aio::PubSub};
use std::time::Duration;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

/// The delay before a lost subscription is retried.
const RETRY: Duration = Duration::from_secs(1);

/// The delay if the server refuses the subscription, for example for lack of permissions.
const RETRY_REFUSED: Duration = Duration::from_secs(30);

/// The interval of pings to the server, and their timeout.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// The capacity of the notice queue. While it is full, the connection is not read.
const WAITING: usize = 64;

/// The notices of one hash. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Notices {
    receiver: mpsc::Receiver<Notice>,
}

impl Notices {
    /// Returns the next notice, or `None` when the runtime shuts down.
    pub async fn next(&mut self) -> Option<Notice> {
        self.receiver.recv().await
    }
}

impl RedisClient {
    /// Follows a hash over a connection of its own, and reconnects when it is lost. Must
    /// be called in a tokio runtime.
    pub fn follow(&self, key: &str) -> Notices {
        let (sender, receiver) = mpsc::channel(WAITING);
        let (client, key) = (self.clone(), key.to_owned());
        tokio::spawn(async move {
            tokio::select! {
                () = client.follow_until_closed(&key, &sender) => {}
                () = sender.closed() => {}
            }
        });
        Notices { receiver }
    }

    async fn follow_until_closed(&self, key: &str, to: &mpsc::Sender<Notice>) {
        let mut is_reported = false;
        loop {
            let mut lost = String::new();
            let mut retry = RETRY;
            let (failed, well): (Vec<_>, Vec<_>) =
                self.servers.iter().partition(|server| server.has_failed());
            for server in well.into_iter().chain(failed) {
                match self.subscribe(server, key).await {
                    Ok(subscriber) => {
                        is_reported = false;
                        if to.send(Notice::Subscribed).await.is_err() {
                            return;
                        }
                        lost = self.receive(subscriber, to).await;
                        break;
                    }
                    Err(failure) => {
                        if !failure.is_unreachable {
                            retry = RETRY_REFUSED;
                        }
                        lost = failure.reason;
                    }
                }
            }
            if !is_reported && to.send(Notice::Lost(lost)).await.is_err() {
                return;
            }
            is_reported = true;
            sleep(retry).await;
        }
    }

    async fn subscribe(&self, server: &Server, key: &str) -> Result<PubSub, RedisFailure> {
        let mut subscriber = server.subscriber(self.timeout).await?;
        let no_answer = |_elapsed| self.no_answer();
        let subscribed = timeout(self.timeout, subscriber.subscribe(channel(key))).await;
        subscribed.map_err(no_answer)?.map_err(RedisFailure::from)?;
        // The user may lack the permission for keyspace notifications.
        let subscribed = timeout(self.timeout, subscriber.subscribe(server.keyspace(key))).await;
        let _ = subscribed.map_err(no_answer)?;
        Ok(subscriber)
    }

    /// Forwards notices until the connection is lost; returns the reason.
    async fn receive(&self, subscriber: PubSub, to: &mpsc::Sender<Notice>) -> String {
        let (mut commands, mut messages) = subscriber.split();
        loop {
            match timeout(PING_INTERVAL, messages.next()).await {
                Ok(Some(message)) => {
                    if to.send(notice(&message)).await.is_err() {
                        return String::new();
                    }
                }
                Ok(None) => return "the server closed the connection".to_owned(),
                Err(_elapsed) => match timeout(self.timeout, commands.ping::<redis::Value>()).await
                {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => return super::describe(&error),
                    Err(_elapsed) => return format!("no answer within {:?}", self.timeout),
                },
            }
        }
    }
}

fn notice(message: &Msg) -> Notice {
    if message.get_channel_name().starts_with("__keyspace@") {
        return Notice::AllChanged;
    }
    match message.get_payload::<String>() {
        Ok(text) if text != ALL && !text.is_empty() => {
            Notice::Changed(text.lines().map(str::to_owned).collect())
        }
        Ok(_) | Err(_) => Notice::AllChanged,
    }
}
