// What Grafana and its Infinity data source read of a dashboard such as ours, for tsc: examples.py puts the dashboard
// behind this. The types of Grafana are its own, but for enumerations, which are their strings in JSON.
import type { Dashboard, DataSourceRef, Panel, TableFieldOptions, TableOptions, VariableModel } from '@grafana/schema';
import type * as stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';

type Json<T> = T extends string
  ? `${T}`
  : T extends readonly (infer U)[]
    ? Json<U>[]
    : T extends object
      ? { [K in keyof T]: Json<T[K]> }
      : T;

// The fields of a query that Infinity 3.3 and newer have for JSON from a URL with a backend parser.
interface Query {
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

type Defaults<Custom> = Omit<Json<Panel>['fieldConfig'] & {}, 'defaults'> & {
  defaults: Omit<(Json<Panel>['fieldConfig'] & {})['defaults'], 'custom'> & { custom?: Custom };
};
type Common = Omit<Json<Panel>, 'type' | 'options' | 'targets' | 'fieldConfig' | 'transformations'> & {
  targets: [Query];
};
type Stat = Common & { type: 'stat'; options: Json<stat.Options>; fieldConfig: Defaults<never> };
type Table = Common & {
  type: 'table';
  options: Json<Pick<TableOptions, 'showHeader' | 'cellHeight'>>;
  fieldConfig: Defaults<Partial<Json<TableFieldOptions>>>;
  transformations?: {
    id: 'organize';
    options: { excludeByName: {}; renameByName: {}; indexByName: Record<string, number> };
  }[];
};
type Ours = Omit<Json<Dashboard>, 'panels' | 'templating'> & {
  panels: (Stat | Table)[];
  templating: { list: Json<VariableModel>[] };
};

export const dashboard: Ours =
