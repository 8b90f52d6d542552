// What Grafana and its data sources Infinity and Prometheus read of dashboards such as ours, for tsc: examples.py puts a
// dashboard behind this. The types of Grafana are its own, but for enumerations, which are their strings in JSON.
import type { Dashboard, DataSourceRef, Panel, TableFieldOptions, TableOptions, VariableModel } from '@grafana/schema';
import type * as stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as states from '@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen';
import type * as series from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

type Json<T> = T extends string
  ? `${T}`
  : T extends readonly (infer U)[]
    ? Json<U>[]
    : T extends object
      ? { [K in keyof T]: Json<T[K]> }
      : T;

// The fields of a query that Infinity 3.3 and newer have for JSON from a URL with a backend parser.
interface InfinityQuery {
  refId: string;
  datasource: DataSourceRef;
  type: 'json';
  source: 'url';
  parser: 'jq-backend';
  format: 'table';
  url: string;
  url_options: { method: 'GET'; data: '' };
  root_selector: string;
  columns: { selector: string; text: string; type: 'string' | 'number' | 'boolean' | 'timestamp' }[];
  filters: [];
}

// The fields of a query that Grafana's own data source for Prometheus has.
interface PrometheusQuery {
  refId: string;
  datasource: DataSourceRef;
  editorMode: 'code' | 'builder';
  expr: string;
  format: 'time_series' | 'table' | 'heatmap';
  instant: boolean;
  range: boolean;
  legendFormat: string;
}

type Defaults<Custom> = Omit<Json<Panel>['fieldConfig'] & {}, 'defaults'> & {
  defaults: Omit<(Json<Panel>['fieldConfig'] & {})['defaults'], 'custom'> & { custom?: Custom };
};
type Common<Targets> = Omit<Json<Panel>, 'type' | 'options' | 'targets' | 'fieldConfig' | 'transformations'> & {
  targets: Targets;
};
type Stat = { type: 'stat'; options: Json<stat.Options>; fieldConfig: Defaults<never> };
type States = { type: 'state-timeline'; options: Json<states.Options>; fieldConfig: Defaults<Json<states.FieldConfig>> };
type Series = { type: 'timeseries'; options: Json<series.Options>; fieldConfig: Defaults<Json<series.FieldConfig>> };
type Table = {
  type: 'table';
  options: Json<Pick<TableOptions, 'showHeader' | 'cellHeight'>>;
  fieldConfig: Defaults<Partial<Json<TableFieldOptions>>>;
  transformations?: {
    id: 'organize';
    options: {
      excludeByName: Record<string, boolean>;
      renameByName: Record<string, string>;
      indexByName: Record<string, number>;
    };
  }[];
};
type Ours<Targets> = Omit<Json<Dashboard>, 'panels' | 'templating'> & {
  panels: (Common<Targets> & (Stat | States | Series | Table))[];
  templating: { list: Json<VariableModel>[] };
};

export const dashboard: Ours<[InfinityQuery]> | Ours<PrometheusQuery[]> =
