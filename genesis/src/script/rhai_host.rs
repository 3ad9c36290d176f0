//! The language `rhai/1.27`.
//!
//! The engine is made without its standard library; what scripts may call is chosen here and in
//! [`super::rhai_words`]. rhai bounds steps, depth, texts and lists by itself, but not what is
//! stored by `map[name] = value`. So every reading of a variable looks at its size: whatever
//! grows is read again, and what was read is charged as work, copies and all. `this` would be a
//! way around that and is no word here.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rhai::packages::{
    ArithmeticPackage, BasicArrayPackage, BasicIteratorPackage, BasicMapPackage, LogicPackage,
    Package as _,
};
use rhai::{AST, Dynamic, Engine, EvalAltResult, EvalContext, OptimizationLevel, Position, Scope};

use super::error::bounded;
use super::limits::{
    CALL_DEPTH, EXPRESSION_DEPTH, FUNCTIONS, LIST_ITEMS, MAP_MEMBERS, OPERATIONS, TEXT_BYTES,
    VALUES, VARIABLES, WORK,
};
use super::rhai_values::{Weight, given, taken};
use super::{Input, LANGUAGE, Language, Output, Program, ScriptError, rhai_words};

/// Words that would make or reach what is not a pure function of the input, or that hide how much
/// is stored.
const FORBIDDEN: [&str; 9] =
    ["eval", "print", "debug", "import", "export", "this", "Fn", "call", "curry"];
/// The name of the variable that a script may change.
const STATE: &str = "state";
/// Numbers by which the engine names nameless functions, so that they have the same names in
/// every build.
const SEED: [u64; 4] = [0x0066_6564, 0x7378, 0x0072_6861, 0x0069];

thread_local! {
    /// Work that the run on this thread may still do.
    static LEFT: Cell<u64> = const { Cell::new(0) };
}

pub(super) type Checked<T> = Result<T, Box<EvalAltResult>>;

/// Charges work to the run on this thread.
pub(super) fn charge(work: u64) -> Checked<()> {
    let rest = LEFT.get().checked_sub(work);
    LEFT.set(rest.unwrap_or(0));
    match rest {
        Some(_) => Ok(()),
        None => Err(stop(format!("it did more than {WORK} units of work"))),
    }
}

/// An error that a script cannot catch.
pub(super) fn stop(why: String) -> Box<EvalAltResult> {
    Box::new(EvalAltResult::ErrorTerminated(why.into(), Position::NONE))
}

/// The engine.
pub(super) struct Rhai(Arc<Engine>);

impl Rhai {
    pub(super) fn new() -> Self {
        // Whoever set them before in this process set the same.
        let _ = rhai::config::hashing::set_hashing_seed(Some(SEED));
        let mut engine = Engine::new_raw();
        ArithmeticPackage::new().register_into_engine(&mut engine);
        LogicPackage::new().register_into_engine(&mut engine);
        BasicIteratorPackage::new().register_into_engine(&mut engine);
        BasicArrayPackage::new().register_into_engine(&mut engine);
        BasicMapPackage::new().register_into_engine(&mut engine);
        rhai_words::register(&mut engine);
        for word in FORBIDDEN {
            engine.disable_symbol(word);
        }
        engine
            .set_optimization_level(OptimizationLevel::None)
            .set_max_operations(OPERATIONS)
            .set_max_call_levels(CALL_DEPTH)
            .set_max_expr_depths(EXPRESSION_DEPTH, EXPRESSION_DEPTH)
            .set_max_variables(VARIABLES)
            .set_max_functions(FUNCTIONS)
            .set_max_string_size(TEXT_BYTES)
            .set_max_array_size(LIST_ITEMS)
            .set_max_map_size(MAP_MEMBERS)
            .set_max_strings_interned(0);
        #[allow(deprecated, reason = "the interface is not deprecated but may change")]
        engine.on_var(|name, _, context| read(name, &context));
        Self(Arc::new(engine))
    }
}

/// Looks at a variable before it is read or written.
fn read(name: &str, context: &EvalContext<'_, '_, '_, '_, '_, '_>) -> Checked<Option<Dynamic>> {
    let Some(held) = context.scope().get(name) else { return Ok(None) };
    let changes = !held.is_read_only();
    let weight = Weight::of(held, if changes { VALUES } else { usize::MAX });
    if changes && weight.values > VALUES {
        return Err(stop(format!("the variable {name:?} holds more than {VALUES} values")));
    }
    if changes && weight.bytes > TEXT_BYTES {
        let why = format!("the variable {name:?} holds more than {TEXT_BYTES} bytes of text");
        return Err(stop(why));
    }
    charge(weight.work())?;
    Ok(None)
}

impl Language for Rhai {
    fn name(&self) -> &'static str {
        LANGUAGE
    }

    fn compile(&self, source: &str) -> Result<Arc<dyn Program>, ScriptError> {
        let compiled = catch_unwind(AssertUnwindSafe(|| self.0.compile(source)));
        let ast = compiled
            .map_err(|_| ScriptError::Syntax("the engine gave up".into()))?
            .map_err(|e| ScriptError::Syntax(bounded(&e.to_string())))?;
        Ok(Arc::new(Compiled { engine: self.0.clone(), ast }))
    }
}

struct Compiled {
    engine: Arc<Engine>,
    ast: AST,
}

impl Program for Compiled {
    fn run(&self, input: Input<'_>) -> Result<Output, ScriptError> {
        let ran = catch_unwind(AssertUnwindSafe(|| self.evaluate(input)));
        ran.unwrap_or_else(|_| Err(ScriptError::Stopped("the engine gave up".into())))
    }
}

impl Compiled {
    fn evaluate(&self, input: Input<'_>) -> Result<Output, ScriptError> {
        let mut scope = Scope::new();
        if let Some(state) = input.state {
            scope.push_dynamic(STATE, given(state));
        }
        for (name, value) in input.given {
            scope.push_constant_dynamic(*name, given(value));
        }
        LEFT.set(WORK);
        let value = self
            .engine
            .eval_ast_with_scope::<Dynamic>(&mut scope, &self.ast)
            .map_err(|e| failure(&e))?;
        let state = match input.state {
            Some(_) => {
                // Without what the script made, even under that name.
                scope.rewind(1);
                let state = scope.get(STATE);
                taken(state.ok_or_else(|| ScriptError::Output("there is no state".into()))?)?
            }
            None => serde_json::Value::Null,
        };
        Ok(Output { state, value: taken(&value)? })
    }
}

/// The failure of a run, in the words of the engine.
fn failure(error: &EvalAltResult) -> ScriptError {
    let text = match root(error) {
        EvalAltResult::ErrorTerminated(why, _) => why.to_string(),
        _ => error.to_string(),
    };
    let text = bounded(&text);
    match root(error) {
        EvalAltResult::ErrorTerminated(..)
        | EvalAltResult::ErrorTooManyOperations(..)
        | EvalAltResult::ErrorTooManyVariables(..)
        | EvalAltResult::ErrorStackOverflow(..)
        | EvalAltResult::ErrorDataTooLarge(..) => ScriptError::Stopped(text),
        _ => ScriptError::Failed(text),
    }
}

/// What failed first, below the functions through which it came.
fn root(error: &EvalAltResult) -> &EvalAltResult {
    match error {
        EvalAltResult::ErrorInFunctionCall(_, _, inner, _) => root(inner),
        other => other,
    }
}
