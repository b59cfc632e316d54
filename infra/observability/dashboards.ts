// The Grafana dashboards. The JSON below grafana/ is made from them (`npm run docs`), and a test asks every query of a live
// fleet.
import { admission } from './dashboards/admission.ts';
import { fleet } from './dashboards/fleet.ts';
import { migrations } from './dashboards/migrations.ts';
import { requests } from './dashboards/requests.ts';
import type { Dashboard } from './panel.ts';

export const dashboards: readonly Dashboard[] = [fleet, requests, migrations, admission];
