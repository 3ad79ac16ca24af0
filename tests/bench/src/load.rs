//! The connections of a run. Each sends the next message when its previous one is done or,
//! with a rate, when the message is due.

use crate::{
    arguments::{Hold, Run, Scenario},
    connection::{Connection, Outcome, Reply},
    envelope::Envelope,
    figures::{Figures, Stage},
    message::{self, Message},
};
use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::task::LocalSet;

/// The state that all connections of a run share.
struct Shared {
    run: Run,
    pool: Vec<Message>,
    figures: RefCell<Figures>,
    next: Cell<u64>,
    start: Instant,
}

/// Sends messages and prints the figures. Returns `false` if a message had another outcome
/// than expected.
pub async fn run(run: Run) -> io::Result<bool> {
    let shared = Rc::new(Shared {
        pool: message::pool(&run)?,
        run,
        figures: RefCell::new(Figures::new()),
        next: Cell::new(0),
        start: Instant::now(),
    });
    let local = LocalSet::new();
    for _ in 0..shared.run.connections {
        local.spawn_local(Rc::clone(&shared).send());
    }
    local.await;
    let figures = shared.figures.borrow();
    println!("{}", figures.to_json());
    Ok(figures.are_as_expected(&shared.run.expect))
}

/// Opens connections and holds them until standard input ends.
pub async fn hold(hold: &Hold) -> io::Result<bool> {
    let figures = RefCell::new(Figures::new());
    let envelope = Envelope::new(Scenario::SpfPass, 0, 1);
    let mut held = Vec::new();
    for _ in 0..hold.connections {
        let mut connection = Connection::open(&hold.milter, &figures).await?;
        connection.greet(&envelope).await?;
        held.push(connection);
    }
    println!("{{\"held\": {}}}", held.len());
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(true)
}

impl Shared {
    async fn send(self: Rc<Self>) {
        while let Some(first) = self.take().await {
            let done = self.one_connection(first).await;
            if let Err(error) = done {
                self.figures.borrow_mut().error(&error.to_string());
            }
        }
    }

    async fn one_connection(&self, first: Turn) -> io::Result<()> {
        let mut connection = Connection::open(&self.run.milter, &self.figures).await?;
        let mut envelope = self.envelope(&first);
        let mut turn = first;
        let mut left = self.run.per_connection;
        self.figures.borrow_mut().connections += 1;
        if !connection.greet(&envelope).await? {
            self.note(&turn, &accepted());
            return connection.quit().await;
        }
        loop {
            let message = &self.pool[turn.number as usize % self.pool.len()];
            let outcome = connection.transaction(&envelope, message).await?;
            self.note(&turn, &outcome);
            left -= 1;
            if left == 0 {
                return connection.quit().await;
            }
            if let Reply::Refuse(_) = outcome.reply {
                connection.abort();
            }
            match self.take().await {
                Some(next) => turn = next,
                None => return connection.quit().await,
            }
            envelope = self.envelope(&turn);
        }
    }

    fn envelope(&self, turn: &Turn) -> Envelope {
        let sender = self.run.first_sender + turn.number % self.run.senders;
        Envelope::new(self.run.scenario, sender, self.run.recipients)
    }

    /// Returns the next message to send. With a rate, the time that a message waits for a
    /// free connection counts.
    async fn take(&self) -> Option<Turn> {
        let number = self.next.get();
        let is_over = number >= self.run.at_least && self.start.elapsed() >= self.run.seconds;
        if number >= self.run.messages || is_over {
            return None;
        }
        self.next.set(number + 1);
        let Some(rate) = self.run.rate else {
            let due = Instant::now();
            return Some(Turn { number, due });
        };
        let due = self.start + Duration::from_secs_f64(number as f64 / rate);
        tokio::time::sleep_until(due.into()).await;
        Some(Turn { number, due })
    }

    fn note(&self, turn: &Turn, outcome: &Outcome) {
        let mut figures = self.figures.borrow_mut();
        figures.record(Stage::Message, turn.due.elapsed());
        match &outcome.reply {
            Reply::Continue | Reply::Skip | Reply::Accept => figures.outcome("accepted"),
            Reply::Refuse(reply) => figures.outcome(reply),
        }
        if let Some(expected) = &self.run.expect_field {
            let is_there = |field: &String| field.contains(expected.as_str());
            if !outcome.fields.iter().any(is_there) {
                figures.unexpected(&outcome.fields);
            }
        }
    }
}

/// The number of a message in the run, and when it is due.
struct Turn {
    number: u64,
    due: Instant,
}

fn accepted() -> Outcome {
    Outcome {
        reply: Reply::Accept,
        fields: Vec::new(),
    }
}
