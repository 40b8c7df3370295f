//! What people are told to read leads somewhere, and what they are told to write is right.
//! No kind of code block is looked at by nobody, but those that say so here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::support::{
    World,
    callers::{caller, key},
    tools::installed,
    unlimited,
};

/// Written for people's eyes; or of tools that are not here, and then only ever read.
const ONLY_READ: [&str; 9] =
    ["text", "ini", "hcl", "mermaid", "http", "java", "csharp", "go", "powershell"];

/// Stands before a block that is run, before a simulated Genesys Cloud.
const RUN: &str = "<!-- run -->";

/// A code block, and where it stands.
struct Block {
    at: String,
    kind: String,
    text: String,
    runs: bool,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page of the project's own.
fn pages() -> Vec<PathBuf> {
    let listed = Command::new("find")
        .args([".", "-name", "*.md", "-not", "-path", "*/target/*", "-not", "-path", "*/.*/*"])
        .args(["-not", "-path", "*/node_modules/*"])
        .current_dir(root())
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let pages: Vec<_> = listed.lines().map(|line| PathBuf::from(&line[2..])).collect();
    assert!(pages.len() > 15, "{pages:?}");
    pages
}

fn read(page: &Path) -> String {
    fs::read_to_string(root().join(page)).unwrap()
}

/// The text between the blocks, and the blocks.
fn parts(page: &Path) -> (String, Vec<Block>) {
    let (mut prose, mut blocks) = (String::new(), Vec::<Block>::new());
    let (mut inside, mut runs) = (false, false);
    for (number, line) in (1..).zip(read(page).lines()) {
        if let Some(kind) = line.trim_start().strip_prefix("```") {
            inside = !inside;
            if inside {
                let at = format!("{}:{number}", page.display());
                blocks.push(Block { at, kind: kind.to_owned(), text: String::new(), runs });
            }
        } else if inside {
            let block = blocks.last_mut().unwrap();
            block.text.push_str(line);
            block.text.push('\n');
        } else {
            prose.push_str(line);
            prose.push('\n');
            runs = line == RUN;
        }
    }
    assert!(!inside, "{}: a block does not end", page.display());
    (prose, blocks)
}

fn blocks(kinds: &[&str]) -> Vec<Block> {
    let all = pages().into_iter().flat_map(|page| parts(&page).1);
    let found: Vec<_> = all.filter(|block| kinds.contains(&block.kind.as_str())).collect();
    assert!(!found.is_empty(), "no {kinds:?}");
    found
}

/// As GitHub makes them of headings.
fn anchors(page: &Path) -> BTreeSet<String> {
    let (prose, _) = parts(page);
    let mut seen = BTreeMap::new();
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let slugs = headings.map(|line| {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let slug: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let count = seen.entry(slug.clone()).or_insert(0);
        *count += 1;
        if *count == 1 { slug } else { format!("{slug}-{}", *count - 1) }
    });
    slugs.collect()
}

/// What stands in `](…)`.
fn links(prose: &str) -> Vec<String> {
    let found = prose.match_indices("](").map(|(at, _)| &prose[at + 2..]);
    found.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

/// What `--help` says of each command, as `docs/commands.md` has it.
fn commands() -> String {
    const NAMES: [&[&str]; 11] = [
        &[],
        &["serve"],
        &["demo"],
        &["exec"],
        &["simulate"],
        &["check"],
        &["token"],
        &["status"],
        &["audit", "verify"],
        &["completions"],
        &["man"],
    ];
    let mut page =
        "# Commands\nWhat `--help` says of each; a test holds this page to it.\n".to_owned();
    for name in NAMES {
        let mut program = Command::new(env!("CARGO_BIN_EXE_genesys-proxy"));
        let output = program.args(name).arg("--help").env_clear().output().unwrap();
        assert!(output.status.success(), "{name:?}");
        let help = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<_> = help.lines().map(str::trim_end).collect();
        let title = [&["genesys-proxy"], name].concat().join(" ");
        let text = lines.join("\n");
        page.extend(["\n## ", &title, "\n```text\n", text.trim_end(), "\n```\n"]);
    }
    page
}

#[test]
fn the_page_of_commands_is_what_help_says() {
    let (page, help) = (read(Path::new("docs/commands.md")), commands());
    let different = page.lines().zip(help.lines()).find(|(page, help)| page != help);
    assert!(page == help, "docs/commands.md is old: {different:?}; it is to be:\n{help}");
}

#[test]
fn every_link_leads_somewhere() {
    let mut checked = 0;
    let mut broken = Vec::new();
    for page in pages() {
        for link in links(&parts(&page).0) {
            if link.starts_with("https://") || link.starts_with("http://") {
                continue;
            }
            checked += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let beside = page.parent().unwrap();
            let target = if file.is_empty() { page.clone() } else { beside.join(file) };
            let exists = root().join(&target).exists();
            let is_page = target.extension().is_some_and(|kind| kind == "md");
            if !exists || !anchor.is_empty() && is_page && !anchors(&target).contains(anchor) {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(checked > 100, "{checked}");
}

#[test]
fn every_page_of_the_documents_is_found_from_the_readme() {
    let mut found = BTreeSet::from([PathBuf::from("README.md")]);
    let mut next = vec![PathBuf::from("README.md")];
    while let Some(page) = next.pop() {
        for link in links(&parts(&page).0) {
            let file = page.parent().unwrap().join(link.split('#').next().unwrap());
            let Ok(file) = root().join(&file).canonicalize() else { continue };
            let file = file.strip_prefix(root().canonicalize().unwrap()).unwrap().to_owned();
            if file.extension().is_some_and(|kind| kind == "md") && found.insert(file.clone()) {
                next.push(file);
            }
        }
    }
    let lost: Vec<_> = pages()
        .into_iter()
        .filter(|page| page.starts_with("docs") && !found.contains(page))
        .collect();
    assert!(lost.is_empty(), "{lost:?}");
}

#[test]
fn every_block_is_of_a_kind_that_somebody_looks_at() {
    let looked_at = ["toml", "json", "yaml", "sh", "python", "js"];
    for page in pages() {
        for Block { at, kind, .. } in parts(&page).1 {
            let known = looked_at.contains(&kind.as_str()) || ONLY_READ.contains(&kind.as_str());
            assert!(known, "{at}: nobody looks at a block of {kind:?}");
        }
    }
}

/// A file that is not there is the reader's; everything else is ours.
#[test]
fn every_piece_of_configuration_is_one() {
    for Block { at, text, .. } in blocks(&["toml"]) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &text).unwrap();
        let checked = Command::new(env!("CARGO_BIN_EXE_genesys-proxy"))
            .args(["check", "--config"])
            .arg(file.path())
            .env_clear()
            .env("GENESYS_CLIENT_ID", "an-id")
            .env("GENESYS_CLIENT_SECRET", "a-secret-of-nobodys")
            .env("CREDENTIALS_DIRECTORY", "/nonexistent")
            .output()
            .unwrap();
        let said =
            String::from_utf8_lossy(&checked.stdout) + String::from_utf8_lossy(&checked.stderr);
        let mut problems = said.lines().filter(|line| line.starts_with("  x "));
        let of_the_reader = ["No such file", "its directory is not there"];
        let only_files = problems.all(|line| of_the_reader.iter().any(|why| line.contains(why)));
        let good = checked.status.success() || only_files && said.contains("  x ");
        assert!(good, "{at}: {said}");
    }
}

fn accepted(mut program: Command, block: &Block) {
    let mut child =
        program.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(block.text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}\n{}", block.at, block.text);
}

#[test]
fn every_block_of_code_can_be_read_by_what_it_is_for() {
    for block in blocks(&["json"]) {
        let read = serde_json::from_str::<serde_json::Value>(&block.text);
        assert!(read.is_ok(), "{}: {read:?}", block.at);
    }
    let python = installed("GENESYS_PROXY_TEST_DEPLOY_PYTHON", "deploy/python/bin/python");
    for block in blocks(&["yaml"]) {
        let mut program = Command::new(&python);
        program.args(["-c", "import sys, yaml; list(yaml.safe_load_all(sys.stdin))"]);
        accepted(program, &block);
    }
    for block in blocks(&["python"]) {
        let mut program = Command::new(&python);
        program.args(["-c", "import ast, sys; ast.parse(sys.stdin.read())"]);
        accepted(program, &block);
    }
    for block in blocks(&["js"]) {
        let mut program = Command::new("node");
        program.args(["--check", "--input-type=module", "-"]);
        accepted(program, &block);
    }
    for block in blocks(&["sh"]) {
        let mut program = Command::new("sh");
        program.arg("-n");
        accepted(program, &block);
    }
}

/// `genesys-proxy audit verify --help`
fn help(words: &[&str]) -> Option<String> {
    let program = env!("CARGO_BIN_EXE_genesys-proxy");
    let output = Command::new(program).args(words).arg("--help").env_clear().output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

#[test]
fn every_command_and_option_that_is_told_of_is_there() {
    let mut checked = 0;
    for Block { at, text, .. } in blocks(&["sh"]) {
        let joined = text.replace("\\\n", " ");
        let lines = joined.lines().map(|line| line.trim_start_matches("$ ").trim());
        for line in lines.filter_map(|line| line.strip_prefix("genesys-proxy")) {
            let line = line.split(" #").next().unwrap();
            // What stands behind `--` is another program's.
            let words: Vec<_> = line.split_whitespace().take_while(|word| *word != "--").collect();
            let commands: Vec<_> = words
                .iter()
                .take_while(|word| word.bytes().all(|byte| byte.is_ascii_lowercase()))
                .copied()
                .take(2)
                .collect();
            let help = help(&commands).or_else(|| help(&commands[..commands.len().min(1)]));
            let help = help.unwrap_or_else(|| panic!("{at}: no command {commands:?}"));
            for option in words.iter().filter(|word| word.starts_with("--")) {
                let option = option.split('=').next().unwrap();
                assert!(help.contains(option), "{at}: {commands:?} has no {option}");
            }
            checked += 1;
        }
    }
    assert!(checked >= 5, "{checked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recipe_that_says_so_is_run_as_it_stands() {
    let toml = format!(
        "{}\n[access]\nmode = \"key\"\n{}",
        crate::support::NO_LIMIT,
        caller("billing", "")
    );
    let world = World::with(unlimited(), &toml).await;
    let port = world.gateway.address.port().to_string();
    let modules = installed("GENESYS_PROXY_TEST_NODE_MODULES", "sdk/javascript/node_modules");
    let dir = tempfile::tempdir().unwrap();
    // Where an `import` is looked for is where the script is.
    std::os::unix::fs::symlink(&modules, dir.path().join("node_modules")).unwrap();
    let recipes: Vec<_> =
        pages().into_iter().flat_map(|page| parts(&page).1).filter(|block| block.runs).collect();
    assert!(recipes.len() >= 5, "{}", recipes.len());
    for Block { at, kind, text, .. } in recipes {
        let (program, file) = match kind.as_str() {
            "python" => (installed("GENESYS_PROXY_TEST_PYTHON", "sdk/python/bin/python"), "a.py"),
            "js" => ("node".into(), "a.mjs"),
            "sh" => ("sh".into(), "a.sh"),
            other => panic!("{at}: nobody runs {other}"),
        };
        assert!(text.contains("8080"), "{at}: it does not call the gateway");
        fs::write(dir.path().join(file), text.replace("8080", &port)).unwrap();
        let mut run = Command::new("timeout");
        run.arg("60").arg(program).arg(file).current_dir(dir.path());
        run.env("GATEWAY_KEY", key("billing"));
        let run = tokio::task::spawn_blocking(move || run.output().unwrap()).await.unwrap();
        let said = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success() && said.contains("Demo Organisation"), "{at}: {said}");
    }
}

#[test]
fn every_error_that_is_told_of_by_its_code_is_one() {
    let (known, _) = parts(Path::new("docs/errors.md"));
    for page in pages() {
        let (prose, _) = parts(&page);
        for code in
            prose.split('`').filter(|word| word.starts_with("proxy.") && !word.contains(' '))
        {
            // `proxy.toml` is a file.
            let is_code = code.matches('.').count() > 1 || code == "proxy.denied";
            assert!(!is_code || known.contains(&format!("`{code}`")), "{}: {code}", page.display());
        }
    }
}
