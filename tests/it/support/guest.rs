//! Somebody in a daemon's rooms: just enough Engine.IO and Socket.IO, over long polling.

use std::time::Instant;

use reqwest::Client;
use serde_json::Value;
use serde_json::json;

use super::Callgate;
use super::PATIENCE;

/// A connection.
pub(crate) struct Guest {
    http: Client,
    url: String,
    heard: Vec<Value>,
    asked: usize,
}

impl Guest {
    /// Connects; `auth` is what goes into the handshake.
    pub(crate) async fn connect(daemon: &Callgate, auth: Value) -> Guest {
        let http = Client::new();
        let url = daemon.url("/socket.io/?EIO=4&transport=polling");
        let open = http.get(&url).send().await.unwrap().text().await.unwrap();
        let open: Value = serde_json::from_str(&open[1..]).unwrap();
        let url = format!("{url}&sid={}", open["sid"].as_str().unwrap());
        let mut guest = Guest { http, url, heard: Vec::new(), asked: 0 };
        guest.post(format!("40{auth}")).await;
        let until = Instant::now() + PATIENCE;
        while !guest.poll().await.contains("40{") {
            assert!(Instant::now() < until, "nobody says hello");
        }
        guest
    }

    async fn post(&self, packet: String) {
        let answer = self.http.post(&self.url).body(packet).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
    }

    /// Hears what there is to hear; events are kept.
    async fn poll(&mut self) -> String {
        let text = self.http.get(&self.url).send().await.unwrap().text().await.unwrap();
        for packet in text.split('\u{1e}') {
            if packet == "2" {
                self.post("3".to_owned()).await;
            } else if let Some(at) = packet.find('[').filter(|_| packet.starts_with("42")) {
                self.heard.push(serde_json::from_str(&packet[at..]).unwrap());
            } else if let Some(at) = packet.find('[').filter(|_| packet.starts_with("43")) {
                let number: usize = packet[2..at].parse().unwrap();
                let said: Value = serde_json::from_str(&packet[at..]).unwrap();
                self.heard.push(json!(["ack", number, said[0]]));
            }
        }
        text
    }

    /// The first event of this name, heard or still to come.
    pub(crate) async fn hear(&mut self, event: &str) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.heard.iter().position(|heard| heard[0] == event) {
                return self.heard.remove(at)[1].take();
            }
            assert!(Instant::now() < until, "no {event:?} in {:#?}", self.heard);
            self.poll().await;
        }
    }

    /// Says something and waits for the acknowledgement.
    pub(crate) async fn ask(&mut self, event: &str, what: Value) -> Value {
        self.asked += 1;
        let number = self.asked;
        self.post(format!("42{number}{}", json!([event, what]))).await;
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.heard.iter().position(|heard| heard[0] == "ack" && heard[1] == number) {
                return self.heard.remove(at)[2].take();
            }
            assert!(Instant::now() < until, "no answer to {event:?} in {:#?}", self.heard);
            self.poll().await;
        }
    }
}
