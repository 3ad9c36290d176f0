# The handful of commands that people use. `just` alone lists them.

default:
    @just --list

# All tests (arguments go to the test runner)
test *args:
    scripts/test.sh {{args}}

# What every change must pass
ci:
    .ci/run

# Two instances federate, step by step
smoke:
    scripts/smoke_federate.sh

# What an operator may have to live through: `just drills`, or `just drills moved`
drills *names:
    scripts/drills.sh {{names}}

# The simulation: `just sim SEEDS=10000`, or `just sim 10000`
sim SEEDS="50":
    scripts/sim.sh "{{trim_start_match(SEEDS, "SEEDS=")}}"

# Format the code
fmt:
    cargo fmt --all

# Formatting and lints, warnings denied
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# One instance for development, in ./target/dev-data, with a token for alice
run *args:
    cargo run --bin fedsx -- serve --data target/dev-data --listen 127.0.0.1:9999 \
        --base-url http://localhost:9999 --allow-http --allow-private-network \
        --token alice=alice-development-secret:publish,read,define,admin {{args}}

# Licences, bans, sources and advisories of the dependencies
deny:
    cargo deny check

# The long forms
nightly:
    scripts/nightly.sh

# An instance measured over HTTP: `just bench-http 5 deliver publish`
bench-http *args:
    scripts/bench_http.sh {{args}}

# Instructions of the hot paths, beside those in bench/counts.toml (`--update` writes them)
count *args:
    scripts/count_instructions.sh {{args}}
