// Reports to the server at argv[2] with the published library for TypeScript.
const Vigil = require(require("path").join(process.cwd(), "node_modules/ts-vigil-reporter")).default;

new Vigil({
  url: process.argv[2],
  token: "tok/en+secret",
  probe: "relay eu",
  node: "socket client",
  replica: "host/one",
  interval: 1,
  debug: true,
});
