// Reports to the server at the first argument with the published library for
// apps, as the node of the second argument of the service "relay", until it is
// killed.
use std::{env, thread, time::Duration};

fn main() {
    let args: Vec<String> = env::args().collect();
    vigil_reporter::Reporter::new(&args[1], "tok/en+secret")
        .probe_id("relay")
        .node_id(&args[2])
        .replica_id("host/one")
        .interval(Duration::from_secs(1))
        .build()
        .run()
        .expect("cannot run");
    loop {
        thread::park();
    }
}
