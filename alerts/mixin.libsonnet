// The rules and dashboards as a mixin, in the layout of kubernetes-mixin: prometheusAlerts, prometheusRules, grafanaDashboards, _config.
//
//   (import 'cacheinv/alerts/mixin.libsonnet') + { _config+:: { alertLabels: { team: 'caches' } } }
//
// Numbers, severities, the job's name and the like are settings of `cacheinv_exporter bundle --set`, which writes the files that are
// imported here. rules.json has the groups of the rule files: jsonnet 0.18 cannot read their YAML.
local groups = (import 'rules.json').groups;

local hasAlerts(group) = std.length([r for r in group.rules if std.objectHas(r, 'alert')]) > 0;

{
  _config+:: {
    // What each alert has for labels besides its own.
    alertLabels: {},
    // Where runbooks are, as 'https://wiki.example/%s'; null: as the files have it.
    runbookURLPattern: null,
    dashboardNamePrefix: '',
    // In place of the dashboards' own tags, by which Grafana's lists find them; null: as they are.
    dashboardTags: null,
  },

  local config = self._config,

  local alert(rule) = rule {
    labels+: config.alertLabels,
    [if config.runbookURLPattern != null then 'annotations']+: { runbook_url: config.runbookURLPattern % rule.alert },
  },

  // What alerts read is recorded before them, in their groups, so that both are evaluated at once: those groups are whole here.
  prometheusAlerts+:: {
    groups+: [
      group { rules: [if std.objectHas(r, 'alert') then alert(r) else r for r in group.rules] }
      for group in groups
      if hasAlerts(group)
    ],
  },

  // Groups that only record.
  prometheusRules+:: {
    groups+: [group for group in groups if !hasAlerts(group)],
  },

  local board(json) = json {
    title: config.dashboardNamePrefix + json.title,
    [if config.dashboardTags != null then 'tags']: config.dashboardTags,
  },

  grafanaDashboards+:: {
    'cacheinv-consistency.json': board(import '../dashboards/consistency.json'),
    'cacheinv-exporter.json': board(import '../dashboards/exporter.json'),
    'cacheinv-overview.json': board(import '../dashboards/overview.json'),
    'cacheinv-queues.json': board(import '../dashboards/queues.json'),
  },
}
