// Reports to the server at argv[2] with the published library for apps, as
// node argv[3] of the service "relay eu", until it is killed.
import { createRequire } from "node:module";
const { VigilReporter } = createRequire(process.cwd() + "/")("vigil-reporter");

new VigilReporter({
  url: process.argv[2],
  token: "tok/en+secret",
  probe_id: "relay eu",
  node_id: process.argv[3],
  replica_id: "host/one",
  interval: 1,
  console: { ...console, log() {} },
});
