//! One table of routes, of which a program can ask what is in it: axum's router does not tell.

/// Makes `ROUTES` and the bare router of lines like `"/path" => get(handler).post(handler);`.
macro_rules! table {
    ($($path:literal => $first:ident($handler:path) $(.$method:ident($other:path))*;)+) => {
        /// Every route: its path, as axum writes it, and its methods in small letters.
        pub const ROUTES: &[(&str, &[&str])] =
            &[$(($path, &[stringify!($first) $(, stringify!($method))*])),+];

        fn bare() -> Router<App> {
            Router::new()
                $(.route($path, axum::routing::$first($handler) $(.$method($other))*))+
        }
    };
}

pub(super) use table;
