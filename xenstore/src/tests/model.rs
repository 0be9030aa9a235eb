//! The tree against a simple model: a map from path to value.

use super::world::World;
use proptest::prelude::*;
use std::collections::BTreeMap;
use xen_abi::io::xs_wire as xs;

#[derive(Clone, Debug)]
enum Step {
    Write(String, String),
    Mkdir(String),
    Rm(String),
    Start,
    End(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let path = "(/[abc]){1,4}";
    prop_oneof![
        (path, "[xyz]{0,2}").prop_map(|(path, value)| Step::Write(path, value)),
        path.prop_map(Step::Mkdir),
        path.prop_map(Step::Rm),
        Just(Step::Start),
        any::<bool>().prop_map(Step::End),
    ]
}

type Model = BTreeMap<String, String>;

fn insert(model: &mut Model, path: &str, value: Option<&str>) {
    for ancestor in crate::path::with_ancestors(path) {
        model.entry(ancestor.to_string()).or_default();
    }
    if let Some(value) = value {
        model.insert(path.to_string(), value.to_string());
    }
}

fn apply(model: &mut Model, step: &Step) -> bool {
    match step {
        Step::Write(path, value) => insert(model, path, Some(value)),
        Step::Mkdir(path) => insert(model, path, None),
        Step::Rm(path) => {
            if !model.contains_key(crate::path::parent(path)) {
                return false;
            }
            model.retain(|node, _| node != path && !node.starts_with(&format!("{path}/")));
        }
        Step::Start | Step::End(_) => {}
    }
    true
}

/// Every node below `path` with its value, as the store tells it.
fn dump(world: &mut World, tx: u32, path: &str, into: &mut Model) {
    let value = world
        .tx(0, tx, xs::XS_READ, &format!("{path}\0"))
        .expect("listed, so it is there");
    into.insert(path.to_string(), value);
    let children = world
        .tx(0, tx, xs::XS_DIRECTORY, &format!("{path}\0"))
        .expect("listed, so it is there");
    for child in children
        .split_terminator('\0')
        .filter(|name| !(path == "/" && matches!(*name, "tool" | "local")))
    {
        dump(world, tx, &crate::path::join(path, child), into);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_tree_is_what_the_model_says(steps in proptest::collection::vec(step(), 1..40)) {
        let mut world = World::new(&[]);
        let mut model = Model::from([("/".to_string(), String::new())]);
        let mut open: Option<(u32, Model)> = None;
        for step in &steps {
            let tx = open.as_ref().map_or(0, |(tx, _)| *tx);
            let current = open.as_mut().map_or(&mut model, |(_, model)| model);
            let works = apply(current, step);
            let reply = match step {
                Step::Write(path, value) => world.tx(0, tx, xs::XS_WRITE, &format!("{path}\0{value}")),
                Step::Mkdir(path) => world.tx(0, tx, xs::XS_MKDIR, &format!("{path}\0")),
                Step::Rm(path) => world.tx(0, tx, xs::XS_RM, &format!("{path}\0")),
                Step::Start if open.is_none() => {
                    let copy = model.clone();
                    open = Some((world.start(0), copy));
                    continue;
                }
                Step::End(commit) => {
                    let Some((tx, changed)) = open.take() else { continue };
                    let end = if *commit { "T\0" } else { "F\0" };
                    prop_assert_eq!(world.tx(0, tx, xs::XS_TRANSACTION_END, end), Ok("OK\0".to_string()));
                    if *commit {
                        model = changed;
                    }
                    continue;
                }
                Step::Start => continue,
            };
            prop_assert_eq!(reply, if works { Ok("OK\0".to_string()) } else { Err("ENOENT".to_string()) });
        }
        let (tx, expected) = open.unwrap_or((0, model));
        let mut found = Model::new();
        dump(&mut world, tx, "/", &mut found);
        prop_assert_eq!(found, expected);
        prop_assert!(world.server.store.db.is_consistent());
    }
}
