#![no_main]

use fedsx_projections::display::{document, html, name, object};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let (shown, plain) = (html(text), name(text));
        assert_eq!(html(&shown), shown);
        assert_eq!(name(&plain), plain);
    }
    if let Ok(serde_json::Value::Object(members)) = serde_json::from_slice(data) {
        let safe = document(&members);
        assert_eq!(document(&safe), safe);
        object(&members);
    }
});
