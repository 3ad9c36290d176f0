//! A small OpenTelemetry collector: takes spans over HTTP and keeps them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message as _;

/// A span that was taken.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The `service.instance.id` of who sent it.
    pub instance: String,
    pub name: String,
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub attributes: Vec<(String, String)>,
}

impl Taken {
    pub fn says(&self, name: &str, value: &str) -> bool {
        self.attributes.iter().any(|(held, said)| held == name && said == value)
    }
}

/// A running collector.
pub struct Collector {
    pub url: String,
    spans: Arc<Mutex<Vec<Taken>>>,
}

impl Collector {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let spans = Arc::new(Mutex::new(Vec::new()));
        let kept = spans.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let kept = kept.clone();
                std::thread::spawn(move || take(stream, &kept));
            }
        });
        Self { url, spans }
    }

    pub fn spans(&self) -> Vec<Taken> {
        self.spans.lock().expect("the spans").clone()
    }
}

/// Takes one request and closes the connection.
fn take(stream: TcpStream, spans: &Mutex<Vec<Taken>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut line, mut length, mut first) = (String::new(), 0, String::new());
    while reader.read_line(&mut line).ok()? > 2 {
        let lower = line.to_ascii_lowercase();
        if first.is_empty() {
            first = line.trim().to_owned();
        } else if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        line.clear();
    }
    assert_eq!(first, "POST /v1/traces HTTP/1.1", "where spans go");
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let request = ExportTraceServiceRequest::decode(body.as_slice()).expect("spans");
    let mut kept = spans.lock().expect("the spans");
    for resource in request.resource_spans {
        let attributes = resource.resource.map(|resource| resource.attributes);
        let attributes = texts(attributes.unwrap_or_default());
        let instance = attributes.iter().find(|(name, _)| name == "service.instance.id");
        let instance = instance.map(|(_, value)| value.clone()).unwrap_or_default();
        for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            kept.push(Taken {
                instance: instance.clone(),
                name: span.name,
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                attributes: texts(span.attributes),
            });
        }
    }
    let mut stream = stream;
    let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    stream.write_all(answer.as_bytes()).ok()
}

fn texts(all: Vec<opentelemetry_proto::tonic::common::v1::KeyValue>) -> Vec<(String, String)> {
    let text = |one: opentelemetry_proto::tonic::common::v1::KeyValue| {
        let value = match one.value?.value? {
            Value::StringValue(text) => text,
            other => format!("{other:?}"),
        };
        Some((one.key, value))
    };
    all.into_iter().filter_map(text).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
