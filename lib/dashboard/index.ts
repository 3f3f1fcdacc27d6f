/** Runs to look at: served as they go on, or written as one file. */
export { type ReportOptions, type ReportResult, writeReport } from './report.js'
export { type Dashboard, type ServeOptions, serveDashboard } from './serve.js'
