//! Lines of an audit log that anybody may have written: no panic, what is taken for a line is one
//! spelling of it, and what passes the check is what the gateway would have written.
#![no_main]

use genesys_proxy::decide::audit::{
    Head, LONGEST, Line, Seal,
    check::{Break, Check},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let mut check = Check::new(Seal::Plain, None);
    let mut before = None::<Head>;
    for bytes in text.split(|&byte| byte == b'\n') {
        let line = Line::read(bytes);
        let found = check.next(bytes);
        let Some(line) = line else {
            assert_eq!(found, Err(Break::NoLine));
            return;
        };
        assert!(bytes.len() < LONGEST && bytes.starts_with(b"{\"seq\":") && bytes.ends_with(b"\"}"));
        let former = Head { seq: line.seq - 1, hash: line.prev };
        let mut written = Vec::new();
        let head = former.append(line.told, &Seal::Plain, &mut written);
        assert_eq!(written.pop(), Some(b'\n'));
        assert_eq!(line.whole(&Seal::Plain), written == bytes);
        if found.is_err() {
            return;
        }
        assert_eq!(check.head(), Some(head));
        assert!(before.is_none_or(|before| before == former));
        before = Some(head);
    }
});
