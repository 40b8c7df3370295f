//! A terminal of the tests' own, as the kernel makes them.

use std::{
    fs::File,
    io::Read,
    process::{Child, Command},
};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// Whoever looks at it, and what programs write to.
pub fn pair() -> (File, File) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let slave = File::options().read(true).write(true).open(name).unwrap();
    (File::from(master), slave)
}

/// A program that was started on a terminal of its own.
pub struct Terminal {
    child: Child,
    master: File,
    shown: String,
}

impl Terminal {
    pub fn start(mut command: Command) -> Self {
        let (master, slave) = pair();
        let [stdin, stdout] = [(); 2].map(|()| slave.try_clone().unwrap());
        let child = command.stdin(stdin).stdout(stdout).stderr(slave).spawn().unwrap();
        // With the command the last descriptors go that are not the program's.
        drop(command);
        Self { child, master, shown: String::new() }
    }

    /// All that it has shown, once that is there, or it has ended.
    pub fn until(&mut self, text: &str) -> &str {
        let mut bytes = [0; 4096];
        while !self.shown.contains(text) {
            // EIO: nobody has it open any longer.
            let Ok(read @ 1..) = self.master.read(&mut bytes) else { break };
            self.shown.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
        &self.shown
    }

    /// All that it shows until it ends.
    pub fn end(mut self) -> String {
        self.until("\0").to_owned()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
