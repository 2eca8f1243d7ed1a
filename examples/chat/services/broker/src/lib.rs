//! A small message broker that speaks the NATS protocol: subjects with wildcards, queues, requests and answers.
//! Nothing is stored: who is not there when a message comes does not get it.

mod connection;
mod subject;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wire::nats::Message;

/// What waits for one connection at most; a client that reads more slowly is sent away.
const BACKLOG: usize = 8192;

struct Subscription {
    subject: String,
    queue: Option<String>,
    /// Ends by itself after so many messages.
    left: Option<u64>,
}

struct Peer {
    outgoing: SyncSender<Arc<[u8]>>,
    subscriptions: BTreeMap<String, Subscription>,
}

/// Who is connected and what they want to hear.
#[derive(Default)]
pub struct Broker {
    peers: Mutex<BTreeMap<u64, Peer>>,
    next: AtomicU64,
    turn: AtomicU64,
}

impl Broker {
    fn peers(&self) -> MutexGuard<'_, BTreeMap<u64, Peer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, outgoing: SyncSender<Arc<[u8]>>) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.peers().insert(number, Peer { outgoing, subscriptions: BTreeMap::new() });
        number
    }

    fn leave(&self, number: u64) {
        self.peers().remove(&number);
    }

    fn subscribe(&self, number: u64, subject: &str, queue: Option<&str>, id: &str) {
        if let Some(peer) = self.peers().get_mut(&number) {
            let queue = queue.map(str::to_owned);
            let subscription = Subscription { subject: subject.to_owned(), queue, left: None };
            peer.subscriptions.entry(id.to_owned()).or_insert(subscription);
        }
    }

    fn unsubscribe(&self, number: u64, id: &str, after: Option<u64>) {
        let mut peers = self.peers();
        let Some(peer) = peers.get_mut(&number) else { return };
        match (after, peer.subscriptions.get_mut(id)) {
            (Some(after), Some(subscription)) if after > 0 => subscription.left = Some(after),
            _ => drop(peer.subscriptions.remove(id)),
        }
    }

    fn send(&self, number: u64, bytes: &[u8]) {
        if let Some(peer) = self.peers().get(&number) {
            // Full: the peer is sent away when the next message for it comes.
            let _ = peer.outgoing.try_send(bytes.into());
        }
    }

    /// Gives a message to everybody who wants it, and to one member of each queue.
    pub fn publish(&self, message: &Message) {
        let mut peers = self.peers();
        let mut chosen = Vec::new();
        let mut queues = BTreeMap::<String, Vec<(u64, String)>>::new();
        for (number, peer) in peers.iter() {
            for (id, subscription) in &peer.subscriptions {
                if !subject::matches(&subscription.subject, &message.subject) {
                    continue;
                }
                let place = (*number, id.clone());
                match &subscription.queue {
                    None => chosen.push(place),
                    Some(queue) => queues.entry(queue.clone()).or_default().push(place),
                }
            }
        }
        let turn = usize::try_from(self.turn.fetch_add(1, Ordering::Relaxed)).unwrap_or(0);
        chosen.extend(queues.into_values().filter_map(|mut members| {
            let index = turn % members.len().max(1);
            (index < members.len()).then(|| members.swap_remove(index))
        }));
        for (number, id) in chosen {
            let Some(peer) = peers.get_mut(&number) else { continue };
            let bytes = connection::message_bytes(message, &id);
            let gone = peer.outgoing.try_send(bytes.into()).is_err();
            let left = peer.subscriptions.get_mut(&id).and_then(|subscription| subscription.left.as_mut());
            let over = left.is_some_and(|left| {
                *left = left.saturating_sub(1);
                *left == 0
            });
            if over {
                peer.subscriptions.remove(&id);
            }
            if gone {
                // Its writer ends with the channel and closes the connection.
                peers.remove(&number);
            }
        }
    }
}

/// Serves until the listener fails.
pub fn serve(listener: &TcpListener, broker: &Arc<Broker>) {
    for stream in listener.incoming().flatten() {
        let broker = Arc::clone(broker);
        std::thread::spawn(move || {
            // A client that goes away in the middle is none of our business.
            let _ = connection::converse(stream, &broker);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, sync_channel};

    fn join(broker: &Broker) -> (u64, Receiver<Arc<[u8]>>) {
        let (sender, receiver) = sync_channel(4);
        (broker.join(sender), receiver)
    }

    fn message(subject: &str) -> Message {
        Message { subject: subject.to_owned(), reply: None, payload: b"x".to_vec() }
    }

    #[test]
    fn a_queue_shares_its_messages_and_others_get_all() {
        let broker = Broker::default();
        let (one, first) = join(&broker);
        let (two, second) = join(&broker);
        let (three, all) = join(&broker);
        broker.subscribe(one, "a", Some("q"), "1");
        broker.subscribe(two, "a", Some("q"), "1");
        broker.subscribe(three, ">", None, "1");
        for _ in 0..4 {
            broker.publish(&message("a"));
        }
        assert_eq!((first.try_iter().count(), second.try_iter().count(), all.try_iter().count()), (2, 2, 4));
    }

    #[test]
    fn who_does_not_read_is_sent_away_and_a_subscription_can_end_by_itself() {
        let broker = Broker::default();
        let (slow, waiting) = join(&broker);
        let (once, few) = join(&broker);
        broker.subscribe(slow, "a", None, "1");
        broker.subscribe(once, "a", None, "1");
        broker.unsubscribe(once, "1", Some(2));
        for _ in 0..9 {
            broker.publish(&message("a"));
        }
        assert_eq!(waiting.iter().count(), 4, "the channel has ended");
        assert_eq!(few.try_iter().count(), 2);
    }
}
