//! One of the fakes as a process.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use crate::binary;

/// A running fake; dropping it kills the process.
pub struct Fake {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    child: Child,
}

impl Fake {
    /// Starts the fake `name` (`model` or `telegram`) on a free port.
    ///
    /// # Panics
    /// When it ends without telling its address.
    pub fn start(name: &str) -> Self {
        let mut child = Command::new(binary("fakes"))
            .args([name, "--port", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the fake can be started");
        let mut said = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        let url = said.find_map(|line| {
            let rest = &line[line.find("http://")?..];
            Some(rest.split_whitespace().next().unwrap_or(rest).trim_end_matches('/').to_owned())
        });
        let Some(url) = url else {
            let ended = child.wait();
            panic!("the fake {name} told no address: {ended:?}");
        };
        // A full pipe would stop it.
        std::thread::spawn(move || said.for_each(drop));
        Self { url, child }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
