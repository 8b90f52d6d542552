// Validates custom resources: a JSON array of objects on standard input. Says what is wrong with each, and fails then.
//
//   node custom-resources.mjs NODE_MODULES
import { readFileSync } from "node:fs";
import { resolve } from "node:path";

const packages = {
  "argoproj.io": "argo-cd",
  "gateway.networking.k8s.io": "gateway-api",
  "kustomize.toolkit.fluxcd.io": "flux-cd",
  "monitoring.coreos.com": "prometheus-operator",
};

for (const object of JSON.parse(readFileSync(0, "utf8"))) {
  const { apiVersion, kind, metadata } = object;
  try {
    const models = `@kubernetes-models/${packages[apiVersion.split("/")[0]]}/${apiVersion}/index.js`;
    const { [kind]: Model } = await import(resolve(process.argv[2], models));
    new Model(object).validate();
  } catch (error) {
    console.log(`${kind} ${metadata.name}: ${error.message}`);
    process.exitCode = 1;
  }
}
