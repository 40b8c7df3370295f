//! Genesys's own SDKs: the jobs of `tests/sdk/`, run against a world.
//! It must never change what an SDK does by itself.

use std::{
    env,
    path::Path,
    process::{Command, Output},
};

use super::{World, tools::installed};

/// A language with an SDK.
#[derive(Debug, Clone, Copy)]
pub enum Sdk {
    Python,
    JavaScript,
}

impl Sdk {
    /// What runs the test `name` of `file` in `tests/sdk/`; words are separated by spaces in it.
    fn command(self, (file, name): (&str, &str)) -> Command {
        // A script that hangs ends, and says how far it came.
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", "150"]).env_clear().env("PATH", env::var("PATH").unwrap());
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk");
        match self {
            Self::Python => {
                let python = installed("GENESYS_PROXY_TEST_PYTHON", "sdk/python/bin/python");
                command.current_dir(scripts.join("python"));
                command.env("PYTHONDONTWRITEBYTECODE", "1");
                command.arg(python).args(["-m", "unittest", "--verbose"]);
                command.arg(format!("{file}.Calls.test_{}", name.replace(' ', "_")));
            }
            Self::JavaScript => {
                let modules =
                    installed("GENESYS_PROXY_TEST_NODE_MODULES", "sdk/javascript/node_modules");
                command.current_dir(scripts.join("javascript"));
                command.env("NODE_PATH", modules);
                command.args(["node", "--test-reporter=tap"]);
                command.arg(format!("--test-name-pattern=^{name}$")).arg(format!("{file}.cjs"));
            }
        }
        command
    }

    /// How the output says that exactly one test ran.
    fn one(self) -> &'static str {
        match self {
            Self::Python => "Ran 1 test ",
            Self::JavaScript => "# pass 1\n",
        }
    }

    /// Runs a test against this world, with more environment variables; it must succeed.
    pub async fn runs(self, test: (&str, &str), world: &World, variables: &[(&str, String)]) {
        let mut command = self.command(test);
        command
            .env("GENESYS_BASE_URL", world.gateway.url(""))
            .env("GENESYS_SIMULATOR_URL", format!("http://{}", world.genesys.addr()))
            .envs(variables.iter().cloned());
        self.succeeds(test, command).await;
    }

    /// Runs a test as the command of another, which has all its variables but the SDK's own.
    pub async fn runs_below(self, test: (&str, &str), mut above: Command) {
        let command = self.command(test);
        above.arg(command.get_program()).args(command.get_args());
        above.current_dir(command.get_current_dir().unwrap());
        above.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        self.succeeds(test, above).await;
    }

    async fn succeeds(self, test: (&str, &str), mut command: Command) {
        let home = tempfile::tempdir().unwrap();
        // The SDKs read a configuration file there.
        command.env("HOME", home.path());
        let ran = tokio::task::spawn_blocking(move || command.output());
        let Output { status, stdout, stderr } = ran.await.unwrap().unwrap();
        let output = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
        assert!(status.success(), "{self:?}, {test:?}: {status}\n{output}");
        assert!(output.contains(self.one()), "{self:?}, {test:?} is not one test:\n{output}");
    }
}
