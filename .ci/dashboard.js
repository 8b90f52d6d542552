// What the panels of a dashboard show, by Grafana's own code: its value mappings, thresholds, units and reducers.
// Standard input: {"panels": [...], "frames": {"<panel id>": {"<column>": {"type": ..., "values": [...]}}}}.
// Standard output: for each panel the texts and colours that it shows, a list of rows.
globalThis.navigator = { languages: ['en-GB'] };
const { applyFieldOverrides, createTheme, getFieldDisplayValues, toDataFrame } = require('@grafana/data');
const { readFileSync } = require('fs');

const { panels, frames } = JSON.parse(readFileSync(0, 'utf8'));
const theme = createTheme();
const replaceVariables = (text) => text;
const shown = {};
for (const panel of panels) {
  // There are no overrides, so the defaults of the panel are the configuration of each field.
  if (panel.fieldConfig.overrides.length > 0) throw new Error(`panel ${panel.id}: overrides are not applied here`);
  const config = panel.fieldConfig.defaults;
  const columns = Object.entries(frames[panel.id]).map(([name, column]) => ({ name, config, ...column }));
  const data = [toDataFrame({ refId: 'A', fields: columns })];
  const common = { fieldConfig: panel.fieldConfig, replaceVariables, theme, timeZone: 'utc' };
  if (panel.type === 'stat') {
    const withFields = applyFieldOverrides({ data, ...common });
    const values = getFieldDisplayValues({ data: withFields, reduceOptions: panel.options.reduceOptions, ...common });
    shown[panel.id] = values.map(({ display: { text, suffix = '', color } }) => ({ text: text + suffix, color }));
  } else if (panel.type === 'state-timeline') {
    const [times, states] = applyFieldOverrides({ data, ...common })[0].fields;
    shown[panel.id] = (times?.values ?? []).map((time, row) => {
      const { text, color } = states.display(states.values[row]);
      return { time, text, color };
    });
  } else {
    const fields = applyFieldOverrides({ data, ...common })[0].fields;
    shown[panel.id] = Array.from({ length: data[0].length }, (_, row) =>
      Object.fromEntries(fields.map((field) => [field.name, field.display(field.values[row]).text]))
    );
  }
}
process.stdout.write(JSON.stringify(shown));
